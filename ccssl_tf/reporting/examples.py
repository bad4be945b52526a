"""Examples of a task, drawn by its runs, as figures whose captions say how to read them."""

from ccssl_tf.reporting.elements import Figure, figure
from ccssl_tf.reporting.run import Run
from ccssl_tf.reporting.run_titles import title_of
from ccssl_tf.reporting.runs import RunSet

_CAPTIONS = {
    "puzzle": "Image, puzzle as shown (foreign tiles framed red), the network's solution (tiles in "
    "their place framed green).",
    "context": "Image with both patches framed, the patches as the network sees them, where it "
    "puts the second (green: right, red: wrong; orange: where it belongs).",
    "colorization": "What the network sees, the true colours of its cells, its answer, and the "
    "image.",
    "split_brain": "Colour from lightness, lightness from colour: what each half sees, the truth, "
    "and its answer.",
    "inpainting": "The image with its holes, the network's answer, and the image.",
    "rotation": "Image as shown, and turned back by what the network answers.",
    "classification": "Image, its class, and what the network answers with which probability.",
    "confusion": "How often the photos of each class (row) are taken for which class (column), in "
    "% of the row; right answers are on the diagonal. Of many classes, those most often confused.",
    "ranking": "For each class the photos the network is surest of (frame green: it is there, red: "
    "it is not, grey: difficult).",
    "segmentation": "Photo at the size the network sees, the classes that are there (void white) "
    "and the network's, in VOC's colours.",
    "detections": "Objects that are there (thin, white) and the network's surest detections.",
    "counting": "The tiles of an image, and the halved image whose counts the network finds "
    "nearest to their sum.",
}
# These hold text, which is not readable when it is enlarged.
_WITH_TEXT = ("classification", "confusion")
_CAPTION_OF_OTHERS = "What goes in, what is asked, what the model answers."


def examples(runs: RunSet, run: Run) -> list[Figure]:
    """Returns everything that `run`, a training run, drew but its filters."""
    title = title_of(runs, run)
    return [
        figure(
            path,
            f"{_CAPTIONS.get(name, _CAPTION_OF_OTHERS)} {title}.",
            alternative=f"{name.replace('_', ' ').capitalize()}: {title}",
            kind="drawn" if name in _WITH_TEXT else "pixels",
        )
        for name, path in run.pictures.items()
    ]


def first_examples(runs: RunSet, entries: list[dict]) -> list[Figure]:
    """Returns what the first run of the first of the entries that drew something has drawn."""
    for entry in entries:
        for name in entry["runs"]:
            if runs.named(name).pictures:
                return examples(runs, runs.named(name))
    return []

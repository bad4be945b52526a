"""The report's section on clusters: their numbers, sizes, and the images nearest their centres."""

import io
import pathlib

from PIL import Image

from ccssl_tf.reporting.elements import Cell, CellLike, Figure, figure, table
from ccssl_tf.reporting.photo_browser import browser
from ccssl_tf.reporting.run import Run
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.reporting.text import number_over_seeds, seeds_of

_COUNTS = {"num_clusters": "clusters", "num_examples": "images", "empty_clusters": "empty"}
# These measure how far clusters and classes agree.
AGREEMENT = {"nmi": "NMI", "ari": "ARI", "purity": "purity"}


def section(runs: RunSet, summary: dict, drawings: dict) -> dict | None:
    """Returns the data of `clusters.html.j2`, None where nothing was clustered.

    Clusters that a student learned have their pictures in the section on knowledge transfer.

    Args:
      runs: the runs reported on.
      summary: `summary.summarise(runs)`.
      drawings: "sizes": {run of clusters: histogram}.
    """
    entries = summary["clusters"]
    if not entries:
        return None
    measured = {name for entry in entries for name in entry["evaluation"]}
    counts = [name for name in _COUNTS if name in measured]
    splits = sorted(
        {name.split("/")[1] for name in measured if name.startswith("num_examples/")},
        key=lambda split: (split != "train", split),
    )
    agreements = [
        name for name in AGREEMENT if any(f"{name}/{split}" in measured for split in splits)
    ]
    head: list[CellLike] = [
        "features of",
        *(_COUNTS[name] for name in counts),
        *(AGREEMENT[name] for name in agreements),
        Cell(("size", "min / med. / max")),
    ]
    rows = [
        [
            entry["network"],
            *(number_over_seeds(entry["evaluation"].get(name)) for name in counts),
            *(_agreement(entry["evaluation"], name, splits) for name in agreements),
            " / ".join(
                number_over_seeds(entry["evaluation"].get(f"{name}/cluster_size"))
                for name in ("min", "median", "max")
            ),
        ]
        for entry in entries
    ]
    browsers = ((entry["network"], browser(runs.named(entry["runs"][0]))) for entry in entries)
    # One browser fills a page.
    browsed, photos = next((one for one in browsers if one[1]), (None, None))
    learned = {transfer["clusters"] for transfer in summary["transfers"]}
    return dict(
        title="Clusters, the pseudo-labels",
        table=table(head, rows),
        has_agreement=bool(agreements),
        seeds=seeds_of(entries),
        browsed=browsed,
        browser=photos,
        figures=[
            picture
            for entry in entries
            if entry["network"] not in learned
            for picture in pictures(runs.named(entry["runs"][0]), entry["network"], drawings)
        ],
    )


def _agreement(numbers: dict, name: str, splits: list[str]) -> Cell:
    return Cell(
        tuple(
            f"{numbers[f'{name}/{split}']['mean']:.3f} ({split})"
            for split in splits
            if f"{name}/{split}" in numbers
        )
    )


def pictures(run: Run, network: str, drawings: dict) -> list[Figure]:
    """Returns the histogram of sizes and the nearest images of a clustering, where there are any.

    Args:
      run: the clustering.
      network: whose features were clustered.
      drawings: "sizes": {run of clusters: histogram}.
    """
    figures = []
    source = f"Features of {network}."
    if run.name in drawings.get("sizes", {}):
        figures.append(
            figure(
                drawings["sizes"][run.name],
                f"How many clusters have how many images. {source}",
                alternative=f"Histogram of cluster sizes, features of {network}",
            )
        )
    nearest_images = run.picture("nearest_images")
    if nearest_images:
        figures.append(
            figure(
                _as_webp(nearest_images),
                "Each row: the images nearest one cluster centre (Figure 5 of the paper), from the "
                f"tightest of all clusters at the top to the loosest. {source}",
                alternative=f"Images nearest to cluster centres, features of {network}",
            )
        )
    return figures


def _as_webp(path: pathlib.Path) -> bytes:
    """Returns a picture of many photos in a tenth of the bytes that a PNG takes."""
    buffer = io.BytesIO()
    with Image.open(path) as picture:
        picture.save(buffer, "WEBP", quality=75)
    return buffer.getvalue()

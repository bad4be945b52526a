"""The method in one picture, what went in and what came out, for a README or a talk."""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.reporting.student_table import clusters_of

NAME = "method.webp"
_WIDTH, _MARGIN, _LINE, _QUALITY = 900, 6, 30, 75
# Rows of clusters that are shown of those drawn, and pixels from one to the next there.
_ROWS, _STEP = 3, 100


def draw(runs: RunSet, summary: dict, probes: bytes | None) -> bytes | None:
    """Returns a WebP of the first student: its teacher's task, clusters, and what probes read.

    Args:
      runs: the runs reported on.
      summary: `summary.summarise(runs)`.
      probes: the PNG of the probes' accuracies, where there are any.

    Returns:
      The picture, None where no student was trained or nothing of it was drawn.
    """
    parts = list(_parts(runs, summary, probes)) if summary["transfers"] else []
    if not parts:
        return None
    scaled = [(caption, _scaled(picture)) for caption, picture in parts]
    height = sum(_LINE + picture.height + _MARGIN for _, picture in scaled)
    sheet, top = Image.new("RGB", (_WIDTH, height), "white"), 0
    font = ImageFont.load_default(17)
    for caption, picture in scaled:
        ImageDraw.Draw(sheet).text((_MARGIN, top + 5), caption, fill="black", font=font)
        sheet.paste(picture, (0, top + _LINE))
        top += _LINE + picture.height + _MARGIN
    buffer = io.BytesIO()
    sheet.save(buffer, "WEBP", quality=_QUALITY, method=6)
    return buffer.getvalue()


def _parts(runs, summary, probes) -> Iterator[tuple[str, Image.Image]]:
    """Yields (caption, picture) of the steps of which there are pictures."""
    transfer = summary["transfers"][0]
    teacher, student = transfer["teacher"], transfer["student"]
    of_teacher = (entry for entry in summary["training"] if entry["network"] == teacher)
    drawn = [runs.named(entry["runs"][0]).pictures for entry in of_teacher]
    if any(drawn):
        caption = f"(a) The teacher learns a task without labels: {teacher}, and what it answers"
        yield caption, Image.open(next(path for paths in drawn for path in paths.values()))
    clusters = clusters_of(summary, transfer)
    nearest = clusters and runs.named(clusters["runs"][0]).picture("nearest_images")
    if nearest:
        caption = (
            f"(b, c) Of {transfer['num_clusters']} clusters of its features, the tightest to the "
            "loosest: each is a pseudo-label"
        )
        yield caption, _some_rows(Image.open(nearest))
    if probes:
        caption = f"(d) The student {student} learns these: what linear classifiers read in layers"
        yield caption, Image.open(io.BytesIO(probes))


def _some_rows(picture):
    """Rows of clusters, from the tightest to the loosest."""
    count = picture.height // _STEP
    if count <= _ROWS:
        return picture
    chosen = np.linspace(0, count - 1, _ROWS).round().astype(int)
    sheet = Image.new("RGB", (picture.width, _STEP * len(chosen)), "white")
    for place, row in enumerate(chosen):
        part = picture.crop((0, row * _STEP, picture.width, (row + 1) * _STEP))
        sheet.paste(part, (0, place * _STEP))
    return sheet


def _scaled(picture):
    height = round(picture.height * _WIDTH / picture.width)
    kind = Image.Resampling.LANCZOS if picture.width > _WIDTH else Image.Resampling.NEAREST
    return picture.convert("RGB").resize((_WIDTH, height), kind)

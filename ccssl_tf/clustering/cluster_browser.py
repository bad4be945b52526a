"""`browser.json`: small photos of the clusters and who is near whom, for the report's browser.

The report shows what is here without reading images or features again.
"""

import base64
import io
import json
import os
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from ccssl_tf.clustering.cluster_report import NEAREST, members_of, thumbnail
from ccssl_tf.data import image_list
from ccssl_tf.data.image_facts import ImageFacts
from ccssl_tf.runs.files import write_bytes

NAME = "browser.json"
# More photos would make the page that shows them too large to be sent around.
MAX_PHOTOS = 3_000
_NEIGHBOURS, _MISFITS, _COMMONEST = 8, 33, 3
# Pixels of a photo, and photos in a row of the sheet of a cluster.
SIDE, COLUMNS = 56, 16
_QUALITY = 55


def write(
    directory: str | os.PathLike,
    split: str,
    images: ImageFacts,
    index: np.ndarray,
    labels: np.ndarray,
    distances: np.ndarray,
    num_clusters: int,
    rows_at: Callable[[np.ndarray], np.ndarray],
    class_names: Sequence[str] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Writes the file, wholly or not at all; returns what it shows: the positions of its rows [n]
    int, in its order, and their features [n, D].

    Args:
      directory: path of an existing directory.
      split: name of the split.
      images: of the split.
      index: [N] int, the image index of every row.
      labels: [N] int in [0, K).
      distances: [N] float, of every row to the centroid of its label.
      num_clusters: K.
      rows_at: maps positions [n] int, ascending, to these rows of features [n, D] float32.
      class_names: of the images; None where they have none.
    """
    members = members_of(labels, distances, num_clusters)
    shown = _shown(members)
    rows = np.array([row for few in shown.values() for row in few], np.int64)
    order = np.argsort(rows)
    ascending = rows_at(rows[order]) if len(rows) else np.empty([0, 0], np.float32)
    features = np.empty_like(ascending)
    features[order] = ascending
    neighbours, apart = nearest_neighbours(features, min(_NEIGHBOURS, len(rows) - 1))
    classes = images.labels[index] if class_names else np.full(len(index), -1)
    commonest = {number: _counted(classes[few]) for number, few in enumerate(members)}
    sheets = (_sheet([images.encoded(int(index[row])) for row in few]) for few in shown.values())
    content = dict(
        split=split,
        num_images=len(labels),
        side=SIDE,
        columns=COLUMNS,
        classes=list(class_names or []),
        clusters=[
            dict(
                number=number,
                size=len(few),
                classes=commonest[number][:_COMMONEST],
                mean_distance=_rounded(distances[few].mean()) if len(few) else None,
                shown=len(shown.get(number, ())),
            )
            for number, few in enumerate(members)
        ],
        order=list(shown),
        sheets=list(sheets),
        names=[image_list.text_of(images.filenames[index[row]]) for row in rows],
        labels=classes[rows].tolist(),
        distances=[_rounded(distance) for distance in distances[rows]],
        neighbours=neighbours.tolist(),
        apart=[[_rounded(distance) for distance in few] for few in apart],
        misfits=_misfits(rows, labels, classes, distances, commonest),
    )
    text = json.dumps(content, separators=(",", ":"), sort_keys=True)
    write_bytes(pathlib.Path(directory) / NAME, f"{text}\n".encode())
    return rows, features


def _shown(members: list[np.ndarray]) -> dict[int, np.ndarray]:
    """Returns cluster -> its members to show, nearest to the centroid first.

    These are all, or, where there are too many, the 11 nearest and the 11 furthest of the largest
    clusters.
    """
    largest = sorted(range(len(members)), key=lambda number: -len(members[number]))
    if sum(map(len, members)) <= MAX_PHOTOS:
        return {number: members[number] for number in sorted(largest) if len(members[number])}
    shown, total = {}, 0
    for number in largest:
        few = members[number]
        ends = np.concatenate([few[:NEAREST], few[NEAREST:][-NEAREST:]])
        total += len(ends)
        if not len(ends) or total > MAX_PHOTOS:
            break
        shown[number] = ends
    return dict(sorted(shown.items()))


def nearest_neighbours(features: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns each row's nearest others: their numbers [n, count] and Euclidean distances.

    Args:
      features: [n, D] float32.
      count: of neighbours, less than n.

    >>> nearest_neighbours(np.array([[0.0], [1.0], [5.0]], np.float32), 1)[0].ravel().tolist()
    [1, 0, 1]
    """
    if count < 1:
        return np.empty([len(features), 0], np.int64), np.empty([len(features), 0])
    # About their mean the squares are smaller, and so is what their difference loses.
    features = features - features.mean(0)
    squares = np.square(features).sum(1)
    apart = squares[:, None] + squares - 2 * features @ features.T
    np.fill_diagonal(apart, np.inf)
    nearest = np.argpartition(apart, count - 1, 1)[:, :count]
    # Of these few the distances are computed again, exactly.
    exact = np.stack(
        [
            np.linalg.norm(features[others] - one, axis=1)
            for one, others in zip(features, nearest, strict=True)
        ]
    )
    order = np.argsort(exact, 1, kind="stable")
    return np.take_along_axis(nearest, order, 1), np.take_along_axis(exact, order, 1)


def _misfits(rows, labels, classes, distances, commonest) -> dict[str, list[int]]:
    """Returns the numbers of photos that do not fit, of those shown.

    `far` are the furthest from their centroid; `class` those nearest to the centroid of a cluster
    most of which is of another class.
    """
    total = np.bincount(labels)
    leaders = {
        number: counts[0][0]
        for number, counts in commonest.items()
        if counts and counts[0][1] > total[number] / 2
    }
    foreign = [
        place
        for place, row in enumerate(rows)
        if labels[row] in leaders and classes[row] not in (-1, leaders[labels[row]])
    ]
    by_distance = np.argsort(distances[rows], kind="stable").tolist()
    foreign.sort(key=lambda place: (distances[rows[place]], place))
    return {"far": by_distance[::-1][:_MISFITS], "class": foreign[:_MISFITS]}


def _counted(classes: np.ndarray) -> list[list[int]]:
    """Returns [class, number of images], commonest first, of the classes that are known."""
    numbers, counts = np.unique(classes[classes >= 0], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return np.stack([numbers[order], counts[order]], 1).tolist()


def _sheet(encoded: Sequence[bytes]) -> str:
    """Returns photos side by side, 16 a row on transparent ground, as WebP in base64."""
    columns, rows = min(COLUMNS, len(encoded)), -(-len(encoded) // COLUMNS)
    sheet = Image.new("RGBA", (columns * SIDE, rows * SIDE))
    for place, one in enumerate(encoded):
        small = thumbnail(one, SIDE)
        left, top = place % COLUMNS * SIDE, place // COLUMNS * SIDE
        sheet.paste(small, (left + (SIDE - small.width) // 2, top + (SIDE - small.height) // 2))
    buffer = io.BytesIO()
    sheet.save(buffer, "WEBP", quality=_QUALITY, method=4)
    return base64.b64encode(buffer.getvalue()).decode()


def _rounded(value) -> float:
    return float(f"{value:.4g}")

"""What the clusters look like: sizes, agreement with classes, the nearest images (Figure 5)."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ccssl_tf.data.image_facts import ImageFacts
from ccssl_tf.metrics import clustering as clustering_metrics

# Number of images that are shown of a cluster.
NEAREST = 11


def size_metrics(sizes: np.ndarray) -> dict:
    """Returns measures of cluster sizes [K].

    They are min, median and max, entropy in nats, and perplexity, the number of equally large
    clusters that have this entropy.
    """
    entropy = clustering_metrics.size_entropy(sizes)
    return dict(
        min=int(sizes.min()),
        median=float(np.median(sizes)),
        max=int(sizes.max()),
        entropy=entropy,
        perplexity=float(np.exp(entropy)),
    )


def label_metrics(labels: np.ndarray, classes: np.ndarray) -> dict:
    """Returns `nmi`, `ari` (adjusted Rand index) and `purity` over the images that have a class.

    If none has, the result is empty.

    Args:
      labels: [N] int, clusters.
      classes: [N] int, -1 where unknown.
    """
    known = classes >= 0
    if not known.any():
        return {}
    labels, classes = labels[known], classes[known]
    return dict(
        nmi=clustering_metrics.normalized_mutual_information(labels, classes),
        ari=clustering_metrics.adjusted_rand_index(labels, classes),
        purity=clustering_metrics.purity(labels, classes),
    )


def members_of(labels: np.ndarray, distances: np.ndarray, num_clusters: int) -> list[np.ndarray]:
    """Returns for each cluster its members, nearest to its centroid first.

    Args:
      labels: [N] int in [0, K).
      distances: [N] float, distance of every row to the centroid of its label.
      num_clusters: K.

    Returns:
      K arrays [m] int of rows.
    """
    order = np.lexsort([distances, labels])
    starts = np.searchsorted(labels[order], np.arange(num_clusters + 1))
    return [order[start:stop] for start, stop in zip(starts[:-1], starts[1:], strict=True)]


def nearest_members(
    labels: np.ndarray, distances: np.ndarray, num_clusters: int
) -> list[np.ndarray]:
    """Returns the first 11, or fewer, of `members_of` for each cluster: K arrays [m] int."""
    return [members[:NEAREST] for members in members_of(labels, distances, num_clusters)]


def nearest_table(
    nearest: list[np.ndarray],
    labels: np.ndarray,
    distances: np.ndarray,
    index: np.ndarray,
    filenames: Sequence[bytes] | None,
) -> list[dict]:
    """Returns the rows of `nearest.json`.

    Args:
      nearest: of `nearest_members`.
      labels: [N] int in [0, K).
      distances: [N] float.
      index: [N] int, the image index of every row.
      filenames: N names; None where they are not known.

    Returns:
      For each cluster its number, size, and nearest images with index, file name and distance.
    """
    sizes = np.bincount(labels, minlength=len(nearest))
    return [
        dict(
            cluster=cluster,
            size=int(sizes[cluster]),
            nearest=[
                dict(
                    index=int(index[row]),
                    filename=filenames[row].decode(errors="backslashreplace") if filenames else "",
                    distance=float(f"{distances[row]:.6g}"),
                )
                for row in rows
            ],
        )
        for cluster, rows in enumerate(nearest)
    ]


def pictured_clusters(
    nearest: list[np.ndarray], distances: np.ndarray, count: int = 12
) -> list[int]:
    """Returns the clusters to draw: evenly spaced in rank of tightness, tightest first.

    Tightness is the mean distance of the 11 nearest members to the centroid; clusters with fewer
    members are left out as long as others are there. So the picture shows good and bad clusters
    alike, whether classes are known or not.

    Args:
      nearest: of `nearest_members`.
      distances: [N] float.
      count: number of clusters, at most.
    """
    full = [cluster for cluster, rows in enumerate(nearest) if len(rows) == NEAREST]
    candidates = full or [cluster for cluster, rows in enumerate(nearest) if len(rows)]
    ranked = sorted(
        candidates, key=lambda cluster: (float(distances[nearest[cluster]].mean()), cluster)
    )
    places = np.unique(np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().astype(int))
    return [ranked[place] for place in places]


def thumbnail(encoded: bytes, side: int) -> Image.Image:
    """Returns a photo as RGB, made smaller so that no side is longer than `side` pixels."""
    with Image.open(io.BytesIO(encoded)) as image:
        # JPEGs are decoded at about the size that is needed, in much less time.
        image.draft("RGB", (side, side))
        small = image.convert("RGB")
    small.thumbnail((side, side))
    return small


def draw_nearest(
    clusters: list[int],
    nearest: list[np.ndarray],
    index: np.ndarray,
    images: ImageFacts,
    side: int = 96,
) -> Image.Image:
    """Draws a row of images for each cluster: the nearest to its centroid, nearest first.

    Args:
      clusters: which.
      nearest: of `nearest_members`.
      index: [N] int, the image index of every row.
      images: of the split.
      side: pixels into whose square each image is fitted.
    """
    gap = 4
    picture = Image.new(
        "RGB", (NEAREST * (side + gap) + gap, len(clusters) * (side + gap) + gap), "white"
    )
    for row, cluster in enumerate(clusters):
        for column, member in enumerate(nearest[cluster]):
            image = Image.open(io.BytesIO(images.encoded(int(index[member])))).convert("RGB")
            scale = side / max(image.size)
            width, height = (max(1, round(length * scale)) for length in image.size)
            corner = (
                gap + column * (side + gap) + (side - width) // 2,
                gap + row * (side + gap) + (side - height) // 2,
            )
            picture.paste(image.resize((width, height), Image.Resampling.LANCZOS), corner)
    return picture

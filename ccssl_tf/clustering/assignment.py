"""One pass of Lloyd's k-means: the rows go to their nearest centroids. The contract of the ways to do it, and the plain one.

A pass is an object made for one fit, `NAME(reader, labels, sums)`, with `step(centroids) -> Assignment`; labels and sums are those of the
pass before (of a checkpoint, or -1 and nothing), and everything else it keeps between steps must not change what a step returns.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from ccssl_tf.clustering import distances
from ccssl_tf.errors import InputError

_CHUNK_BYTES = 256 << 20
_MAX_CHUNK_ROWS = 8192


@dataclasses.dataclass
class Assignment:
    """What a pass found.

    Attributes:
      labels: [N] int32, the nearest centroid of every row; ties: the lower number.
      squares: [N] float32, the squared distance to it, computed as a sum of squared differences.
      sums: [K, D] float64, sums of the rows by label.
      counts: [K] int64, rows by label.
      changed: [c] int64, the clusters whose sums or counts may differ from those of the pass before.
      distances: how many distances between a row and a centroid were computed.
      bytes_read: from the source; 0 if the rows were in memory.
    """

    labels: np.ndarray
    squares: np.ndarray
    sums: np.ndarray
    counts: np.ndarray
    changed: np.ndarray
    distances: int
    bytes_read: int


class PlainAssignment:
    """Computes every distance: float32, |x|^2 - 2 x.c + |c|^2 of rows shifted by a common vector."""

    def __init__(self, reader, labels, sums):
        """Args: reader: ChunkReader; labels, sums: not used, every pass starts anew."""
        del labels, sums
        self._reader = reader

    def step(self, centroids: np.ndarray) -> Assignment:
        """Args: centroids: [K, D] float32."""
        sums = np.zeros(centroids.shape, np.float64)
        labels, squares = nearest(self._reader, centroids, sums)
        counts = np.bincount(labels, minlength=len(centroids))
        return Assignment(labels, squares, sums, counts, np.arange(len(counts)), labels.size * len(centroids), self._reader.bytes_read)


def chunk_rows(dim: int, num_clusters: int) -> int:
    """Returns how many rows are worked on together: their scores, and the rows in float32 and float64, take about 256 MB."""
    return int(np.clip(_CHUNK_BYTES // (4 * num_clusters + 20 * dim), 16, _MAX_CHUNK_ROWS))


def nearest(reader, centroids: np.ndarray, sums: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """One pass over the rows that computes every distance.

    Args:
      reader: ChunkReader.
      centroids: [K, D] float32.
      sums: [K, D] float64 that the rows are added to, by cluster; or None.

    Returns:
      labels [N] int32, squared distances [N] float32.

    Raises:
      InputError, CorruptArtifactError: a row is not finite, or a pass gives more or fewer rows than there are.
    """
    count = reader.source.num_examples
    labels, squares = np.empty(count, np.int32), np.empty(count, np.float32)
    shift = centroids.mean(axis=0, dtype=np.float64).astype(np.float32)
    shifted, norms = map(tf.constant, distances.shift_centroids(centroids, shift))
    centroids, end = tf.constant(centroids), 0
    for start, chunk in reader:
        end = start + len(chunk)
        if end > count:
            break
        rows = tf.cast(tf.convert_to_tensor(chunk), tf.float32)
        chunk_labels, chunk_squares = distances.nearest(rows, centroids, shifted, norms, shift)
        labels[start:end], squares[start:end] = chunk_labels.numpy(), chunk_squares.numpy()
        check_finite(reader, squares, start, end)
        if sums is not None:
            distances.add_rows(sums, labels[start:end], chunk, np.arange(len(chunk)))
    if end != count:
        raise InputError(f"features: a pass gave {end} rows or more instead of {count}; every pass must give the same rows")
    return labels, squares


def check_finite(reader, squares: np.ndarray, start: int, end: int):
    """Raises the source's error for the first row of [start, end) whose squared distance is not finite."""
    finite = np.isfinite(squares[start:end])
    if not finite.all():
        raise reader.source.not_finite(start + int(np.argmin(finite)))

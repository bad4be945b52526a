"""The squared distances of rows to the centroids of their labels, as sums of squared differences.

These are the distances that are given out; the matrix products only find which centroid is nearest.
"""

from collections.abc import Callable

import numpy as np

from ccssl_tf.clustering.host import distances
from ccssl_tf.clustering.host.block_threads import BlockThreads, block_rows, parts
from ccssl_tf.data.feature_source import FeatureSource

# Rows that are measured at a time, so that their differences stay in the processor's cache.
_MEASURED_ROWS = 128


def measuring_threads(
    dim: int,
    num_clusters: int,
    num_examples: int,
    check_stop: Callable[[], None] = lambda: None,
) -> BlockThreads:
    """Returns threads with the memory that `measure` takes, and a `block` of a pass over N rows."""
    return BlockThreads(
        dim,
        check_stop,
        block=block_rows(num_examples, dim, num_clusters),
        rows=_MEASURED_ROWS,
        centroids=_MEASURED_ROWS,
    )


def measure(
    rows: np.ndarray,
    centroids: np.ndarray,
    labels: np.ndarray,
    squares: np.ndarray,
    threads: BlockThreads,
    numbers: np.ndarray,
) -> None:
    """Writes the squared distances of some rows to the centroids of their labels.

    Args:
      rows: [W, D] of any type.
      centroids: [K, D] float32.
      labels: [W] int32.
      squares: [W] float32, where they are written.
      threads: their memory `rows` and `centroids` is used.
      numbers: [n] int, which rows.
    """
    for (some,) in parts(numbers, _MEASURED_ROWS):
        difference = threads.memory.rows.take(rows, some)
        difference -= threads.memory.centroids.take(centroids, labels[some])
        squares[some] = distances.square_norms(difference)


def check_finite(source: FeatureSource, values: np.ndarray, start: int) -> None:
    """Raises the source's error for the first row whose value is not finite.

    Args:
      source: of the rows.
      values: [n] float32, for each of some rows a number that is finite if and only if the row is.
      start: position of the first of these rows in the source.
    """
    is_finite = np.isfinite(values)
    if not is_finite.all():
        raise source.not_finite(start + int(np.argmin(is_finite)))

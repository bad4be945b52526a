"""The nearest centroids of rows, as TensorFlow operations: the same labels as in exact arithmetic.

Products in float32 bound all distances (see `host.distances` for the formula and its rounding).
Where more than one centroid may be the nearest within these bounds, differences in float64 decide.
"""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ccssl_tf.clustering.host import distances

# Bytes of the differences, in float64, that are computed at a time where several centroids may be
# the nearest of a row.
_DIFFERENCE_BYTES = 64 << 20
# Bytes that a chunk of rows takes on a device: its rows in float32, and their scores.
_CHUNK_BYTES = 256 << 20
_MIN_CHUNK_ROWS, _MAX_CHUNK_ROWS = 16, 8192


class Centroids(NamedTuple):
    """Centroids and what the formula takes of them, as tensors or variables of a device.

    Attributes:
      values: c, [K, D] float32.
      shift: [D] float32, subtracted from rows and centroids before their products; None: nothing
        is.
      scaled: -2 (c - shift), [K, D] float32.
      norms: |c - shift|^2, [K] float32.
    """

    values: tf.Tensor
    shift: tf.Tensor | None
    scaled: tf.Tensor
    norms: tf.Tensor


def chunk_rows(num_clusters: int, dim: int) -> int:
    """Returns how many rows a device works on together, a multiple of 16.

    So a chunk begins where TensorFlow's memory is aligned, and is no copy of the rows.
    """
    rows = _CHUNK_BYTES // (4 * num_clusters + 20 * dim)
    return int(np.clip(rows // 16 * 16, _MIN_CHUNK_ROWS, _MAX_CHUNK_ROWS))


@contextlib.contextmanager
def exact_float32() -> Iterator[None]:
    """Returns a context in which GPUs do not round factors of products to TensorFloat-32."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def squared_distances(left: tf.Tensor, right: tf.Tensor, norms: tf.Tensor) -> tf.Tensor:
    """Returns |x|^2 - 2 x.c + |c|^2 for all pairs, [n, K] float32; rounding may make it negative.

    Args:
      left: x, [n, D] float32, and
      right: c, [K, D] float32; one of the two, whichever is smaller, is given times -2.
      norms: |x|^2 + |c|^2, [n, K] float32. |c|^2 alone, [K], gives the distances less |x|^2, which
        is all that the nearest centroid depends on.
    """
    return norms + tf.matmul(left, right, transpose_b=True)


def shifted_centroids(values: tf.Tensor, shift: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns `scaled` and `norms` of `Centroids` for values [K, D] float32 and shift [D]."""
    shifted = values if shift is None else values - shift
    norms = tf.reduce_sum(tf.square(tf.cast(shifted, tf.float64)), axis=-1)
    return -2 * shifted, tf.cast(norms, tf.float32)


def nearest_centroids(rows: tf.Tensor, centroids: Centroids) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the nearest centroid of every row, and its squared distance, of differences.

    Args:
      rows: [n, D] float16 or float32.
      centroids: see `Centroids`.

    Returns:
      labels [n] int64 (ties: the lower number), squared distances [n] float32. A row that is not
      finite has some label and a squared distance that is not finite.
    """
    rows = tf.cast(rows, tf.float32)
    return _nearest(rows, centroids, _lower_bounds(rows, centroids))


def nearest_others(
    rows: tf.Tensor, centroids: Centroids, labels: tf.Tensor, count: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the centroids that are nearest to every row beside one, nearest first.

    Args:
      rows: [n, D] float16 or float32.
      centroids: see `Centroids`; more than `count`.
      labels: [n] int64, the centroid of each row that is not looked at.
      count: number of centroids a row, m.

    Returns:
      [n, m] int64 and squared distances [n, m] float32, each column as of `nearest_centroids` with
      those before it left out.
    """
    rows = tf.cast(rows, tf.float32)
    lower, found = _lower_bounds(rows, centroids), []
    for _ in range(count):
        is_left_out = tf.cast(labels, tf.int32)[:, None] == tf.range(tf.shape(lower)[1])
        lower = tf.where(is_left_out, np.float32(np.inf), lower)
        labels, squares = _nearest(rows, centroids, lower)
        found.append((labels, squares))
    numbers, squares = (tf.stack(columns, axis=1) for columns in zip(*found, strict=True))
    return numbers, squares


def _lower_bounds(rows: tf.Tensor, centroids: Centroids) -> tf.Tensor:
    """Returns what the squared distances [n, K] less |x|^2 are at least: [n, K] float32.

    The formula is off by g (|x|^2 + |c|^2), so with norms smaller by twice that share it gives
    lower bounds.
    """
    norms = centroids.norms * np.float32(1 - 2 * distances.probable_rounding(rows.shape[-1]))
    shifted = rows if centroids.shift is None else rows - centroids.shift
    return squared_distances(shifted, centroids.scaled, norms)


def _nearest(
    rows: tf.Tensor, centroids: Centroids, lower: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Does what `nearest_centroids` does with rows [n, D] float32 and their `_lower_bounds`.

    These are infinite for centroids that are not looked at. That of the nearest of the others is at
    most `limit`.
    """
    rounding = distances.probable_rounding(rows.shape[-1])
    labels = tf.argmin(lower, axis=-1)
    squares = _squares(rows, centroids.values, labels)
    # |x| <= |x - c| + |c|, so that |x|^2 need not be computed: it is at most twice the sum of both
    # squares.
    slack = 2 * squares + 3 * tf.gather(centroids.norms, labels)
    smallest = tf.gather(lower, labels, batch_dims=1)
    limit = smallest + np.float32(4 * rounding) * slack
    num_near = tf.reduce_sum(tf.cast(lower <= limit[:, None], tf.float32), axis=-1)
    is_open = (num_near > 1) & tf.math.is_finite(squares)

    def decided() -> list[tf.Tensor]:
        numbers = tf.where(is_open)[:, 0]
        some = tf.gather(rows, numbers)
        near = tf.gather(lower, numbers) <= tf.gather(limit, numbers)[:, None]
        chosen = _decide(some, centroids.values, near)
        measured = _squares(some, centroids.values, chosen)
        return [
            tf.tensor_scatter_nd_update(labels, numbers[:, None], chosen),
            tf.tensor_scatter_nd_update(squares, numbers[:, None], measured),
        ]

    return tuple(tf.cond(tf.reduce_any(is_open), decided, lambda: [labels, squares]))


def _squares(rows: tf.Tensor, values: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns the squared distances of rows to the centroids of their labels: [n] float32."""
    return tf.reduce_sum(tf.math.squared_difference(rows, tf.gather(values, labels)), axis=-1)


def _decide(rows: tf.Tensor, values: tf.Tensor, is_candidate: tf.Tensor) -> tf.Tensor:
    """Returns the nearest candidate of every row, by differences in float64: [n] int64.

    Args:
      rows: [n, D] float32.
      values: [K, D] float32.
      is_candidate: [n, K] bool; every row has a candidate. Of candidates at equal distances the
        first is the nearest.
    """
    pairs = tf.where(is_candidate)
    count, num_rows = tf.shape(pairs)[0], tf.shape(rows)[0]
    size = max(_DIFFERENCE_BYTES // (8 * rows.shape[-1]), 1)

    def decide_some(start: tf.Tensor, smallest: tf.Tensor, labels: tf.Tensor) -> list[tf.Tensor]:
        some = pairs[start : start + size]
        number, candidate = some[:, 0], some[:, 1]
        squares = _squares64(tf.gather(rows, number), tf.gather(values, candidate))
        least = tf.minimum(tf.math.unsorted_segment_min(squares, number, num_rows), smallest)
        # Numbers of centroids are compared as float64, of which GPUs know segments.
        is_least = tf.equal(squares, tf.gather(least, number))
        candidate = tf.where(is_least, tf.cast(candidate, tf.float64), np.inf)
        lowest = tf.math.unsorted_segment_min(candidate, number, num_rows)
        labels = tf.minimum(tf.where(least < smallest, np.float64(np.inf), labels), lowest)
        return [start + size, least, labels]

    infinite = tf.fill([num_rows], np.float64(np.inf))
    _, _, labels = tf.while_loop(
        lambda start, *_: start < count, decide_some, [0, infinite, infinite]
    )
    return tf.cast(labels, tf.int64)


def _squares64(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Returns the squared distances of row i to row i, of differences in float64: [n]."""
    difference = tf.cast(left, tf.float64) - tf.cast(right, tf.float64)
    return tf.reduce_sum(tf.square(difference), axis=-1)

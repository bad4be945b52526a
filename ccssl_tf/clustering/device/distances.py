"""Squared distances and nearest centroids as TensorFlow operations, for rows on a device."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf


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


def nearest_centroids(
    rows: tf.Tensor,
    centroids: tf.Tensor,
    shift: tf.Tensor,
    scaled_centroids: tf.Tensor,
    norms: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the nearest centroid of every row, and its squared distance, of differences.

    Args:
      rows: [n, D] float16 or float32.
      centroids: c, [K, D] float32.
      shift: [D] float32.
      scaled_centroids: -2 (c - shift), [K, D] float32.
      norms: |c - shift|^2, [K] float32.

    Returns:
      labels [n] int32, squared distances [n] float32.
    """
    rows = tf.cast(rows, tf.float32)
    labels = tf.argmin(
        squared_distances(rows - shift, scaled_centroids, norms), axis=-1, output_type=tf.int32
    )
    difference = tf.math.squared_difference(rows, tf.gather(centroids, labels))
    return labels, tf.reduce_sum(difference, axis=-1)

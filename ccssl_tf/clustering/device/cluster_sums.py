"""Sums of rows by cluster that follow the rows from cluster to cluster, on a device.

Every row is added in float64, in an order that depends on rows and labels alone: a pass that is
made again has the same sums to the last bit.
"""

from collections.abc import Callable

import tensorflow as tf


def move_rows(
    sums: tf.Variable,
    rows: tf.Tensor,
    before: tf.Tensor,
    after: tf.Tensor,
    weights: tf.Tensor | None = None,
) -> None:
    """Takes rows from the sums of the clusters they leave, and adds them to those they enter.

    Args:
      sums: [K, D] float64; changed.
      rows: [n, D] float16, float32 or float64.
      before: [n] int64, the clusters they were in; -1: in none.
      after: [n] int64, the clusters they are in now; those of both stay untouched.
      weights: [n] float64, by which rows are multiplied; None: by 1.
    """
    moved = tf.where(before != after)[:, 0]
    before, after = tf.gather(before, moved), tf.gather(after, moved)
    weights = None if weights is None else tf.gather(weights, moved)
    if tf.config.list_logical_devices("GPU"):
        _move_by_product(sums, rows, moved, before, after, weights)
    else:
        _add(sums, rows, moved, after, weights, tf.add)
        leaves = tf.where(before >= 0)[:, 0]
        left = None if weights is None else tf.gather(weights, leaves)
        _add(sums, rows, tf.gather(moved, leaves), tf.gather(before, leaves), left, tf.subtract)


def _move_by_product(
    sums: tf.Variable,
    rows: tf.Tensor,
    moved: tf.Tensor,
    before: tf.Tensor,
    after: tf.Tensor,
    weights: tf.Tensor | None,
) -> None:
    """Moves rows by one matrix product: on a GPU, segments are summed in no fixed order."""
    ways = [tf.one_hot(labels, sums.shape[0], dtype=tf.float64) for labels in (after, before)]
    values = tf.cast(tf.gather(rows, moved), tf.float64)
    if weights is not None:
        values *= weights[:, None]
    sums.assign_add(tf.matmul(ways[0] - ways[1], values, transpose_a=True))


def _add(
    sums: tf.Variable,
    rows: tf.Tensor,
    numbers: tf.Tensor,
    labels: tf.Tensor,
    weights: tf.Tensor | None,
    change: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
) -> None:
    """Adds the rows `numbers` [n] to the sums of their labels [n], or subtracts them.

    The rows of a cluster are summed first, so that each sum is changed once: of an index that
    comes twice, no order of the two additions is promised.
    """
    order = tf.argsort(labels, stable=True)
    labels = tf.gather(labels, order)
    is_first = tf.concat([tf.ones_like(labels[:1], tf.bool), labels[1:] != labels[:-1]], 0)
    segments = tf.cumsum(tf.cast(is_first, tf.int64)) - 1
    values = tf.cast(tf.gather(rows, tf.gather(numbers, order)), tf.float64)
    if weights is not None:
        values *= tf.gather(weights, order)[:, None]
    clusters = tf.boolean_mask(labels, is_first)
    changed = change(tf.gather(sums, clusters), tf.math.segment_sum(values, segments))
    sums.scatter_update(tf.IndexedSlices(changed, clusters))

"""Sums of rows by cluster that follow the rows from cluster to cluster, on a device.

Every row is added in float64, in an order that depends on rows and labels alone: a pass that is
made again has the same sums to the last bit.
"""

import tensorflow as tf


def move_rows(sums: tf.Variable, rows: tf.Tensor, before: tf.Tensor, after: tf.Tensor) -> None:
    """Takes rows from the sums of the clusters they leave, and adds them to those they enter.

    Args:
      sums: [K, D] float64; changed.
      rows: [n, D] float64.
      before: [n] int64, the clusters they leave; -1: none.
      after: [n] int64, the clusters they enter.
    """
    if tf.config.list_logical_devices("GPU"):
        _move_by_product(sums, rows, before, after)
    else:
        _add(sums, rows, after)
        leaves = before >= 0
        _add(sums, -tf.boolean_mask(rows, leaves), tf.boolean_mask(before, leaves))


def _move_by_product(
    sums: tf.Variable, rows: tf.Tensor, before: tf.Tensor, after: tf.Tensor
) -> None:
    """Moves rows by one matrix product: on a GPU, segments are summed in no fixed order."""
    ways = [tf.one_hot(labels, sums.shape[0], dtype=tf.float64) for labels in (after, before)]
    sums.assign_add(tf.matmul(ways[0] - ways[1], rows, transpose_a=True))


def _add(sums: tf.Variable, rows: tf.Tensor, labels: tf.Tensor) -> None:
    """Adds rows [n, D] to the sums of their labels [n].

    The rows of a cluster are summed first, so that each sum is changed once: of an index that
    comes twice, no order of the two additions is promised.
    """
    order = tf.argsort(labels, stable=True)
    labels = tf.gather(labels, order)
    is_first = tf.concat([tf.ones_like(labels[:1], tf.bool), labels[1:] != labels[:-1]], 0)
    segments = tf.cumsum(tf.cast(is_first, tf.int64)) - 1
    added = tf.math.segment_sum(tf.gather(rows, order), segments)
    sums.scatter_add(tf.IndexedSlices(added, tf.boolean_mask(labels, is_first)))

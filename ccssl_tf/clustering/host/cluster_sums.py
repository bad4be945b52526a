"""Sums of the rows of each cluster in float64, kept up to date while rows change their clusters."""

import numpy as np

from ccssl_tf.clustering.rows.row_copies import as_float64

# Rows that are made float64 at a time, so that they stay in the processor's cache.
_ADDED_ROWS = 16


def add_rows(
    sums: np.ndarray,
    labels: np.ndarray,
    rows: np.ndarray,
    index: np.ndarray,
    sign: int = 1,
    weights: np.ndarray | None = None,
) -> None:
    """Adds rows to the sums of their labels, or subtracts them; those of a label in their order.

    Args:
      sums: [K, D] float64, changed in place.
      labels: [n] int.
      rows: [W, D] of any type.
      index: [n] int, which rows.
      sign: 1 to add, -1 to subtract.
      weights: [W] float64, by which rows are multiplied; None: by 1.
    """
    # One row after the other is faster than any of NumPy's functions that sum by label, and the
    # sums of a cluster are in the cache when the next of its rows comes.
    change, order = np.add if sign > 0 else np.subtract, np.argsort(labels, kind="stable")
    for some in (order[at : at + _ADDED_ROWS] for at in range(0, len(order), _ADDED_ROWS)):
        values = as_float64(rows[index[some]])
        if weights is not None:
            values *= weights[index[some], None]
        for label, row in zip(labels[some].tolist(), values, strict=True):
            change(sums[label], row, out=sums[label])


def move_rows(
    sums: np.ndarray,
    rows: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    weights: np.ndarray | None = None,
    shares: int = 1,
    share: int = 0,
) -> np.ndarray:
    """Makes the sums follow rows whose labels have changed.

    Rows are moved in their order, so that the bits of the sums depend on the labels alone.

    Args:
      sums: [K, D] float64, changed in place.
      rows: [n, D] of any type.
      before: [n] int32, their labels so far; -1: in no sum yet.
      after: [n] int32, their labels now.
      weights: [n] float64, of the rows; None: 1 each.
      shares: number of shares of the clusters; different shares may be worked on at the same time.
      share: number of the one to work on: the clusters that are `share` modulo `shares`.

    Returns:
      The clusters of this share that lost or won a row, [c] ascending.
    """
    moved = np.flatnonzero(before != after)
    lost = moved[(before[moved] >= 0) & (before[moved] % shares == share)]
    won = moved[after[moved] % shares == share]
    add_rows(sums, before[lost], rows, lost, -1, weights)
    add_rows(sums, after[won], rows, won, 1, weights)
    return np.union1d(before[lost], after[won])

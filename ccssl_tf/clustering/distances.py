"""Squared distances between rows and centroids: fast, with bounds on their rounding, and exact.

Rounding: with u = 2^-24 a float32 dot product of D terms, added in any order, is off by at most
g |x| |c|, g = D u / (1 - D u) (Higham, Accuracy and Stability of Numerical Algorithms, section
3.1), and 2 |x| |c| <= |x|^2 + |c|^2. So |x|^2 - 2 x.c + |c|^2 is within g (|x|^2 + |c|^2) of the
truth; a few more u cover the shift by a common vector, the norms and the additions.
"""

import numpy as np

# Rows that are made float64 at a time: they stay in the processor's cache.
_ADDED_ROWS = 16
_CONVERTED_ROWS = 128
_FLOAT32_OF_FLOAT16 = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)


def rounding(dim: int) -> float:
    """Returns g: no sum of `dim` float32 products in these functions is off by more than this share
    of its absolute terms.
    """
    terms = (dim + 24) * 2.0**-24
    return 1.01 * terms / (1 - min(terms, 0.5))


def at_most(squares: np.ndarray, rounding: float) -> np.ndarray:
    """Returns what the true values of squared norms [n] float32 are at most; rounding: g."""
    return squares * np.float32(1 + rounding)


def shift_centroids(centroids: np.ndarray, shift: np.ndarray):
    """Returns -2 (c - shift) [K, D] float32 and |c - shift|^2 [K] float32."""
    shifted = centroids - shift
    norms = square_norms(shifted)
    shifted *= -2
    return shifted, norms


def as_float32(rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Returns rows [n, D] of any type as float32: in `out` [n, D] if that is given, the rows
    themselves if nothing is to be done.
    """
    if rows.dtype != np.float16:
        if out is None:
            return rows.astype(np.float32, copy=False)
        np.copyto(out, rows, casting="unsafe")
        return out
    out = np.empty(rows.shape, np.float32) if out is None else out
    # Of a table: NumPy works out number by number, five times as long where zeros are among them.
    for at in range(0, len(rows), _CONVERTED_ROWS):
        some = slice(at, at + _CONVERTED_ROWS)
        np.take(_FLOAT32_OF_FLOAT16, rows[some].view(np.uint16), out=out[some], mode="clip")
    return out


def as_float64(rows: np.ndarray) -> np.ndarray:
    """Returns rows [n, D] of any type as float64, new ones."""
    return (as_float32(rows) if rows.dtype == np.float16 else rows).astype(np.float64)


class Gathered:
    """Makes float32 copies of rows in memory that is used again and again.

    New memory for every copy costs more than the copying.
    """

    def __init__(self, num_rows: int, dim: int):
        """Args: num_rows: the most that are copied at a time; dim: D."""
        self._memory = np.empty([num_rows, dim], np.float32)

    def first(self, count: int) -> np.ndarray:
        """Returns the memory of the first `count` rows, [count, D]."""
        return self._memory[:count]

    def take(self, rows: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Returns the rows [W, D] at `index` [n] as [n, D] float32; overwritten by the
        next call.
        """
        out = self.first(len(index))
        if rows.dtype == np.float32:
            # The mode without a check of the indices is the one that needs no copy of its own.
            return np.take(rows, index, axis=0, out=out, mode="clip")
        return as_float32(rows[index], out)


def square_norms(rows: np.ndarray) -> np.ndarray:
    """Returns |x|^2 [n] float32 of rows [n, D] float32: off by at most g times themselves; that of
    a row does not depend on the others.
    """
    return np.vecdot(rows, rows)


def is_first_of_equals(rows: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """Returns for rows [K, D] with `square_norms` [K] whether no row before is equal, [K] bool."""
    order = np.argsort(norms, kind="stable")
    is_first, start = np.ones(len(rows), bool), 0
    for end in np.append(np.flatnonzero(np.diff(norms[order])) + 1, len(rows)):
        if end - start > 1:
            seen = set()
            for number in order[start:end]:
                content = (rows[number] + np.float32(0)).tobytes()  # -0 becomes 0.
                is_first[number] = content not in seen
                seen.add(content)
        start = end
    return is_first


def exact_squares(rows: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Returns the squared distances of row i to centroid i in float64: [n]."""
    difference = as_float64(rows) - centroids.astype(np.float64)
    return (difference * difference).sum(axis=1)


def add_rows(
    sums: np.ndarray, labels: np.ndarray, rows: np.ndarray, index: np.ndarray, sign: int = 1
):
    """Adds (sign 1) or subtracts (-1) the rows [W, D] at `index` [n] to or from the sums [K, D] of
    their labels [n].

    Rows of a label are added in the order of the index.
    """
    # One row after the other is faster than any of the functions that sum by label; those of a
    # cluster find its sums in the cache.
    change, order = np.add if sign > 0 else np.subtract, np.argsort(labels, kind="stable")
    for some in (order[at : at + _ADDED_ROWS] for at in range(0, len(order), _ADDED_ROWS)):
        for label, row in zip(labels[some].tolist(), as_float64(rows[index[some]]), strict=True):
            change(sums[label], row, out=sums[label])


def move_rows(
    sums: np.ndarray,
    rows: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    shares: int = 1,
    share: int = 0,
) -> np.ndarray:
    """Makes the sums follow rows [n, D] whose labels were `before` (-1: none) and are `after`, [n]
    int32.

    In the order of the rows, so that the bits of the sums depend on the labels alone. Of several
    `shares`, which may be worked on at the same time, each has clusters of its own.

    Returns:
      The clusters of this share that lost or won a row, [c] ascending.
    """
    moved = np.flatnonzero(before != after)
    lost = moved[(before[moved] >= 0) & (before[moved] % shares == share)]
    won = moved[after[moved] % shares == share]
    add_rows(sums, before[lost], rows, lost, -1)
    add_rows(sums, after[won], rows, won)
    return np.union1d(before[lost], after[won])

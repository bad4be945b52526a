"""Squared distances between rows and centroids in NumPy: fast, with bounds on rounding, and exact.

|x - c|^2 = |x|^2 - 2 x.c + |c|^2 makes all distances one matrix product. Every use of it is built
on one of these functions:

  `squared_distances`: the formula as it stands, [n, K];
  `nearest_scores`: x.c - |c|^2 / 2, which is all that the nearest centroid depends on;
  `device_distances.squared_distances`: the formula in TensorFlow;
  `screening.reduced_squares`: the formula in few dimensions, with the norms inside the product.

Rows and centroids are first shifted by a common vector, so that a large mean costs no precision.

Rounding: with u = 2^-24 a float32 dot product of D terms, added in any order, is off by at most
g |x| |c|, g = D u / (1 - D u) (Higham, Accuracy and Stability of Numerical Algorithms, section
3.1), and 2 |x| |c| <= |x|^2 + |c|^2. So the formula gives the squared distance to within
g (|x|^2 + |c|^2); a few more u cover the shift by a common vector, the norms and the additions.
"""

from collections.abc import Callable

import numpy as np

from ccssl_tf.clustering.rows.row_copies import as_float64

# The formula in float64 is usually off by so much of the squared norms, times the root of D, times
# 1000: a distance of more than that has three digits at least.
_ROUNDING64 = 1000 * 2.0**-51
# Bytes of the differences, in float64, that are computed at a time.
_DIFFERENCE_BYTES = 8 << 20

# Rows are not shifted where the median of |c|^2 is at most so many times the median of
# |c - shift|^2: products then lose less than one decimal digit, and shifting takes time.
_MAX_NORM_RATIO = 25
# Number of centroids of which these medians, and the shift, are taken.
_SAMPLED_CENTROIDS = 64


def rounding(dim: int) -> float:
    """Returns g: a sum of `dim` float32 products here is off by at most g times its summands.

    By their absolute values, that is; what the module's docstring adds is included.
    """
    terms = (dim + 24) * 2.0**-24
    return 1.01 * terms / (1 - min(terms, 0.5))


def probable_rounding(dim: int) -> float:
    """Returns what `rounding` does, as it is with all but certainty.

    Errors of single operations cancel each other: with a probability of at least 1 - 2 D exp(-32) a
    sum of D products is off by less than 8 sqrt(D) u times its summands, not D u (Higham and Mary
    2019, "A new approach to probabilistic rounding error analysis", theorem 3.1 with lambda = 8).
    """
    return min(rounding(dim), 1.01 * (8 * dim**0.5 + 24) * 2.0**-24)


def upper_bounds(squares: np.ndarray, rounding: float) -> np.ndarray:
    """Returns numbers that the true values of `square_norms` [n] do not exceed; rounding: g."""
    return squares * np.float32(1 + rounding)


def common_shift(centroids: np.ndarray) -> np.ndarray:
    """Returns the mean of the centroids [K, D], to be subtracted from rows too: [D] float32."""
    return centroids.mean(axis=0, dtype=np.float64).astype(np.float32)


def needed_shift(centroids: np.ndarray) -> np.ndarray:
    """Returns the mean of some centroids [D] float32, or zeros where a shift does not pay."""
    some = centroids[:: max(len(centroids) // _SAMPLED_CENTROIDS, 1)]
    shift = common_shift(some)
    norm, shifted_norm = (np.median(square_norms(vectors)) for vectors in (some, some - shift))
    return np.zeros_like(shift) if norm <= _MAX_NORM_RATIO * shifted_norm else shift


def square_norms(rows: np.ndarray) -> np.ndarray:
    """Returns |x|^2 of rows [n, D] float32, summed in float32: [n].

    It is off by at most g times itself, and does not depend on the rows beside it.
    """
    return np.vecdot(rows, rows)


def square_norms64(rows: np.ndarray) -> np.ndarray:
    """Returns |x|^2 of rows [n, D], summed in float64: [n] float64."""
    return np.einsum("ij,ij->i", rows, rows, dtype=np.float64)


def shift_centroids(
    centroids: np.ndarray,
    shift: np.ndarray,
    norms_of: Callable[[np.ndarray], np.ndarray] = square_norms,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns what the formula needs of the centroids [K, D] float32.

    Args:
      centroids: c.
      shift: [D] float32, subtracted from them.
      norms_of: how |c - shift|^2 is summed.

    Returns:
      -2 (c - shift) [K, D] float32, and |c - shift|^2 [K] float32.
    """
    shifted = centroids - shift
    norms = norms_of(shifted).astype(np.float32, copy=False)
    shifted *= -2
    return shifted, norms


def squared_distances(
    rows: np.ndarray,
    scaled_centroids: np.ndarray,
    row_norms: np.ndarray,
    centroid_norms: np.ndarray,
) -> np.ndarray:
    """Returns |x|^2 - 2 x.c + |c|^2 for all pairs, [n, K] float32; rounding may make it negative.

    Args:
      rows: x, [n, D] float32.
      scaled_centroids: -2 c, [K, D] float32.
      row_norms: |x|^2, [n] float32.
      centroid_norms: |c|^2, [K] float32.
    """
    squares = rows @ scaled_centroids.T
    squares += row_norms[:, None]
    squares += centroid_norms
    return squares


def nearest_scores(rows: np.ndarray, centroids: np.ndarray, half_norms: np.ndarray) -> np.ndarray:
    """Returns x.c - |c|^2 / 2 for all pairs, [n, K] float32: greatest for the nearest centroid.

    It is the formula without |x|^2, over -2: one addition to a pair less, and no copy of the
    centroids times -2, which would take as long as the products of a few rows.

    Args:
      rows: x, [n, D] float32.
      centroids: c, [K, D] float32.
      half_norms: |c|^2 / 2, [K] float32.
    """
    scores = rows @ centroids.T
    scores -= half_norms
    return scores


def exact_squares(rows: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Returns the squared distance of row i to centroid i, of differences in float64: [n]."""
    difference = as_float64(rows) - centroids.astype(np.float64)
    return (difference * difference).sum(axis=1)


def all_squares(rows: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Returns the squared distances of all rows and centroids, in float64: [n, K].

    Where the formula would lose more than a few digits they are computed of differences.

    Args:
      rows: [n, D] of any type.
      centroids: [K, D] float32.
    """
    shift = np.median(centroids, axis=0).astype(np.float64)
    left, right = as_float64(rows) - shift, centroids.astype(np.float64) - shift
    norms = square_norms64(left)[:, None] + square_norms64(right)
    squares = norms - 2 * left @ right.T
    norms *= _ROUNDING64 * rows.shape[1] ** 0.5
    row, centroid = np.nonzero(squares <= norms)
    size = max(_DIFFERENCE_BYTES // (8 * rows.shape[1]), 1)
    for start in range(0, len(row), size):
        pairs = row[start : start + size], centroid[start : start + size]
        squares[pairs] = exact_squares(rows[pairs[0]], centroids[pairs[1]])
    return squares


def decide(rows: np.ndarray, centroids: np.ndarray, is_candidate: np.ndarray) -> np.ndarray:
    """Returns the nearest candidate of every row, by differences in float64: [n] int64.

    Args:
      rows: [n, D] of any type.
      centroids: [c, D] float32.
      is_candidate: [n, c] bool; every row has a candidate. Of candidates at equal distances the
        first is the nearest.
    """
    row, candidate = np.nonzero(is_candidate)
    squares = np.empty(len(row))
    size = max(_DIFFERENCE_BYTES // (8 * rows.shape[1]), 1)
    for start in range(0, len(row), size):
        pairs = slice(start, start + size)
        squares[pairs] = exact_squares(rows[row[pairs]], centroids[candidate[pairs]])
    # Pairs are in the order of rows, and those of a row in the order of candidates.
    starts = np.flatnonzero(np.diff(row, prepend=-1))
    is_least = squares == np.repeat(
        np.minimum.reduceat(squares, starts), np.diff(starts, append=len(row))
    )
    nearest = np.empty(len(rows), np.int64)
    nearest[row[is_least][::-1]] = candidate[is_least][::-1]
    return nearest


def is_first_of_equals(rows: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """Returns for rows [K, D] with `square_norms` [K] whether no row before is equal, [K] bool."""
    order = np.argsort(norms, kind="stable")
    is_first, start = np.ones(len(rows), bool), 0
    for end in np.append(np.flatnonzero(np.diff(norms[order])) + 1, len(rows)):
        if end - start > 1:
            seen = set()
            for number in order[start:end]:
                content = (rows[number] + np.float32(0)).tobytes()  # The addition makes -0 to 0.
                is_first[number] = content not in seen
                seen.add(content)
        start = end
    return is_first

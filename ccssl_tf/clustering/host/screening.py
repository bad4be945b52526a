"""Cheap lower bounds of all distances, from rows and centroids reduced to few dimensions.

With orthonormal directions U and x = U U'x + r, |x - c|^2 >= |U'x - U'c|^2 + (|r_x| - |r_c|)^2:
reducing the rows to (U'x, |r_x|), one number more than there are directions, never lengthens a
distance. The directions are the principal ones of some rows, so the bound is tight where features
are correlated, as those of networks are; any other orthonormal directions would be right, but
loose.

Rounding: products are summed in float32 over 256 dimensions and in float64 beyond, so a coordinate
of U'x is off by at most e |x|, e = 264 u, u = 2^-24 (Higham, as in `distances`; the basis itself
and the shift of the rows are rounded once, too), U'x by sqrt(p) e |x|, and |r|^2 = |x|^2 - |U'x|^2
by about 2 sqrt(p) e |x|^2. `slack` bounds the error of the reduced row as a whole.
"""

import numpy as np

from ccssl_tf.clustering.host import distances

# Number of directions: one for so many dimensions, and up to so many. With fewer than the minimum
# screening costs more than it saves.
_DIMS_A_DIRECTION = 16
_MIN_DIRECTIONS, _MAX_DIRECTIONS = 16, 256
# Rows from which the directions are computed, for each of them.
_SAMPLED_ROWS_A_DIRECTION = 2
# Dimensions that are summed in float32; e of the module's docstring is for so many.
_SUMMED_DIMS = 256
_COORDINATE_ERROR = 1.01 * (_SUMMED_DIMS + 8) * 2.0**-24


def num_directions(dim: int) -> int:
    """Returns p, the number of directions for rows [n, dim]; 0: screening does not pay."""
    directions = min(_MAX_DIRECTIONS, dim // _DIMS_A_DIRECTION)
    return directions if directions >= _MIN_DIRECTIONS else 0


class Reduction:
    """The map from rows [n, D] to reduced rows [n, p + 1], and on to factors of `lower_bounds`.

    Attributes:
      dim: int, p + 3, the number of columns of these factors.
    """

    def __init__(self, rows: np.ndarray, directions: int):
        """Computes the directions.

        Args:
          rows: [n, D] float32, finite.
          directions: p, at most D; fewer are used where the rows span fewer dimensions.
        """
        centred = rows - rows.mean(axis=0)
        variances, vectors = np.linalg.eigh(centred @ centred.T)
        largest = vectors[:, ::-1][:, : min(directions, int(np.sum(variances > 0)))]
        basis = np.linalg.qr((centred.T @ largest).astype(np.float64))[0]
        self._basis = np.ascontiguousarray(basis, dtype=np.float32)
        self.dim = self._basis.shape[1] + 3

    @staticmethod
    def sample(num_rows: int, directions: int) -> np.ndarray:
        """Returns which of `num_rows` rows suffice to compute the directions, evenly spread.

        They are [s] int64, ascending.
        """
        count = min(num_rows, _SAMPLED_ROWS_A_DIRECTION * directions)
        return np.unique(np.linspace(0, num_rows - 1, count).astype(np.int64))

    def rows(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the first factor of `lower_bounds`, and the slack of its rows.

        Args:
          rows: x, [n, D] float32.

        Returns:
          [n, p + 3] float32: reduced x, 1, |reduced x|^2; and [n] float32.
        """
        reduced, norms, slack = self._reduce(rows)
        return np.concatenate([reduced, np.ones_like(norms), norms], 1), slack

    def centroids(self, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the second factor of `lower_bounds`, and the slack of its rows.

        Args:
          centroids: c, [K, D] float32.

        Returns:
          [K, p + 3] float32: -2 times reduced c, |reduced c|^2, 1; and [K] float32.
        """
        reduced, norms, slack = self._reduce(centroids)
        return np.concatenate([-2 * reduced, norms, np.ones_like(norms)], 1), slack

    def _reduce(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Reduces rows [n, D].

        Returns:
          [n, p + 1] float32, their squared norms [n, 1] float32 less what rounding may add to a
          product of theirs, and their slack [n] float32.
        """
        coordinates, squares = np.zeros([len(rows), self._basis.shape[1]]), np.zeros(len(rows))
        for start in range(0, rows.shape[1], _SUMMED_DIMS):
            part = rows[:, start : start + _SUMMED_DIMS]
            coordinates += part @ self._basis[start : start + _SUMMED_DIMS]
            squares += np.einsum("ij,ij->i", part, part)
        residual_squares = np.maximum(squares - distances.square_norms64(coordinates), 0)
        error = _COORDINATE_ERROR * max(self._basis.shape[1], 1) ** 0.5
        # Where a number is off by d, its root is off by at most sqrt(d), and by at most d over the
        # root.
        off = (2 * error + error**2 + 2 * _COORDINATE_ERROR) * squares
        with np.errstate(divide="ignore", invalid="ignore"):
            residual_error = np.fmin(np.sqrt(off), off / np.sqrt(residual_squares))
        slack = 1.01 * np.sqrt(error**2 * squares + residual_error**2)
        reduced = np.concatenate([coordinates, np.sqrt(residual_squares)[:, None]], 1).astype(
            np.float32
        )
        norms = np.einsum("ij,ij->i", reduced, reduced) * np.float32(
            1 - 3 * distances.rounding(self.dim)
        )
        return reduced, norms[:, None], slack.astype(np.float32)


def reduced_squares(rows: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Returns |x|^2 - 2 x.c + |c|^2 of all reduced rows x and c; rounding may make it negative.

    It is one product: the norms are columns of the factors, since with so few dimensions to add
    them afterwards would take as long as the product.

    Args:
      rows: [n, p + 3] of `Reduction.rows`.
      centroids: [K, p + 3] of `Reduction.centroids`.

    Returns:
      [n, K] float32, at most the true squared distances of the reduced rows.
    """
    return rows @ centroids.T


def lower_bounds(rows: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Returns lower bounds of the distances: [i, j] less the slacks of row i and centroid j.

    Args and the shape of the result are those of `reduced_squares`.
    """
    lower = reduced_squares(rows, centroids)
    return np.sqrt(np.maximum(lower, 0, out=lower), out=lower)

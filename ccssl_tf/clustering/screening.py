"""Cheap lower bounds of all distances: rows and centroids in few dimensions, which never lengthens
a distance.

With orthonormal directions U and x = U U'x + r, |x - c|^2 >= |U'x - U'c|^2 + (|r_x| - |r_c|)^2: the
squared distance of the reduced rows (U'x, |r_x|), one number more than there are directions. The
directions are the principal ones of some rows, so the bound is tight where features are correlated,
as those of networks are; an orthogonal basis of any other kind would be as right, but loose.

Rounding: products are summed in float32 over 256 dimensions and in float64 beyond, so a coordinate
of U'x is off by at most e |x|, e = 264 u, u = 2^-24 (Higham, as in `distances`; the basis itself
and the shift of the rows are rounded once, too), U'x by sqrt(p) e |x|, and |r|^2 = |x|^2 - |U'x|^2
by about 2 sqrt(p) e |x|^2. `slack` is what this makes of the reduced row as a whole.
"""

import numpy as np

from ccssl_tf.clustering import distances

_MOST_DIRECTIONS = 256
_DIMS_A_DIRECTION = 16
_LEAST_DIRECTIONS = 16
_SAMPLED_ROWS_A_DIRECTION = 2
_SUMMED_DIMS = 256
_COORDINATE_ERROR = 1.01 * (_SUMMED_DIMS + 8) * 2.0**-24


def num_directions(dim: int) -> int:
    """Returns p for rows [., dim]; 0: there are too few dimensions for the bound to pay."""
    directions = min(_MOST_DIRECTIONS, dim // _DIMS_A_DIRECTION)
    return directions if directions >= _LEAST_DIRECTIONS else 0


class Reduction:
    """The map from rows [n, D] to reduced rows [n, p + 1], with what makes squared distances one
    product of them.

    Attributes:
      dim: p + 3.
    """

    def __init__(self, rows: np.ndarray, directions: int):
        """Finds the directions.

        Args:
          rows: [n, D] float32, finite.
          directions: p, at most D.
        """
        centred = rows - rows.mean(axis=0)
        variances, vectors = np.linalg.eigh(centred @ centred.T)
        largest = vectors[:, ::-1][:, : min(directions, int(np.sum(variances > 0)))]
        basis = np.linalg.qr((centred.T @ largest).astype(np.float64))[0]
        self._basis = np.ascontiguousarray(basis, dtype=np.float32)
        self.dim = self._basis.shape[1] + 3

    @staticmethod
    def sample(num_rows: int, directions: int) -> np.ndarray:
        """Returns which of `num_rows` rows are enough to find the directions: evenly spread,
        ascending.
        """
        return np.unique(
            np.linspace(
                0, num_rows - 1, min(num_rows, _SAMPLED_ROWS_A_DIRECTION * directions)
            ).astype(np.int64)
        )

    def rows(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns what `lower_bounds` takes of rows [n, D] float32: [n, p + 3] float32, and their
        slack [n] float32.
        """
        reduced, norms, slack = self._reduce(rows)
        return np.concatenate([reduced, np.ones_like(norms), norms], 1), slack

    def centroids(self, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the same of centroids [K, D] float32."""
        reduced, norms, slack = self._reduce(centroids)
        return np.concatenate([-2 * reduced, norms, np.ones_like(norms)], 1), slack

    def _reduce(self, rows):
        """Returns the reduced rows [n, p + 1], their squares [n, 1] less what rounding may do to a
        product, and the slack.
        """
        coordinates, squares = np.zeros([len(rows), self._basis.shape[1]]), np.zeros(len(rows))
        for start in range(0, rows.shape[1], _SUMMED_DIMS):
            part = rows[:, start : start + _SUMMED_DIMS]
            coordinates += part @ self._basis[start : start + _SUMMED_DIMS]
            squares += np.einsum("ij,ij->i", part, part)
        residual_squares = np.maximum(squares - np.einsum("ij,ij->i", coordinates, coordinates), 0)
        error = _COORDINATE_ERROR * max(self._basis.shape[1], 1) ** 0.5
        # The root of something that is off by d is off by at most sqrt(d), and by at most d over
        # itself.
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


def lower_bounds(rows: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Returns [n, K] float32, of which row i is at most the distances of row i to the centroids
    plus the slack of both.

    Args:
      rows: [n, p + 3] of `Reduction.rows`.
      centroids: [K, p + 3] of `Reduction.centroids`.
    """
    lower = rows @ centroids.T
    return np.sqrt(np.maximum(lower, 0, out=lower), out=lower)

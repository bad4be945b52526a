"""For granules of a few rows: how much nearer than any other centroid their own ones are at least,
kept valid while the centroids move.

gap(g, j) = min over the rows x of granule g whose own centroid is not j of d(x, c_j) - r(x), where
r(x) >= d(x, own centroid). While it is above 0 no row of g can go to j. A move of c_j by m lowers
it by at most m, a growth of r by its growth (the triangle inequality, Elkan 2003), so nothing is
rewritten when centroids move: each centroid and each granule has a running total of what it has
lost, and a gap is stored with the totals of that moment added. With 16 rows a granule N K / 16
numbers are kept instead of Elkan's N K.
"""

import numpy as np

_LEAST_ROWS = 16
# Covers the float32 rounding of a root, of a difference and of r.
_SLACK = 2.0**-20


def granule_rows(num_rows: int, num_clusters: int, most_rows: int, memory_bytes: int) -> int:
    """Returns how many rows a granule has if all bounds may take so much memory, 16 to `most_rows`;
    0: there is too little.
    """
    size = _LEAST_ROWS
    while 4 * num_clusters * -(-num_rows // size) > memory_bytes:
        size *= 2
        if size > most_rows:
            return 0
    return size


class GapBounds:
    """The bounds of one window of rows.

    Attributes:
      size: rows of a granule.
    """

    def __init__(self, num_rows: int, num_clusters: int, size: int):
        """Args: num_rows: n; num_clusters: K; size: rows of a granule, the last may have fewer. No
        bound is known yet.
        """
        self.size = size
        self._starts = np.arange(0, num_rows, size)
        self._lost = np.zeros(len(self._starts))
        self._gaps = np.full([len(self._starts), num_clusters], -np.inf, np.float32)

    def grow(self, growth: np.ndarray):
        """Args: growth: [n] float, what was added to r of every row; negative where it fell."""
        self._lost += np.maximum.reduceat(growth, self._starts)

    def open_pairs(self, first: int, last: int, moved: np.ndarray) -> np.ndarray:
        """Returns for the granules [first, last) which centroids a row of theirs might go to, [last
        - first, K] bool.

        Args:
          first, last: granules.
          moved: [K] float64, how far each centroid has moved in all.
        """
        return self._gaps[first:last] <= self._lost[first:last, None] + moved

    def store(
        self,
        granules: np.ndarray,
        columns: np.ndarray,
        lower: np.ndarray,
        reach: np.ndarray,
        moved: np.ndarray,
    ):
        """Stores new gaps.

        Args:
          granules: [m] ascending.
          columns: [c] centroids.
          lower: [rows of these granules, c] float32, at most d(x, c_j); infinite where j is the
            row's own. Overwritten.
          reach: [rows of these granules] float32, r.
          moved: [K] float64, as in `open_pairs`.
        """
        lower -= reach[:, None]
        missing = len(granules) * self.size - len(reach)
        if missing:
            lower, reach = (
                np.pad(lower, ((0, missing), (0, 0)), constant_values=np.inf),
                np.pad(reach, (0, missing)),
            )
        gaps = lower.reshape(len(granules), self.size, -1).min(axis=1).astype(np.float64)
        largest = reach.reshape(len(granules), self.size).max(axis=1)
        gaps -= _SLACK * (np.abs(np.where(np.isfinite(gaps), gaps, 0)) + largest[:, None])
        self._gaps[granules[:, None], columns] = self._stored(
            gaps, self._lost[granules, None] + moved[columns]
        )

    def lower(self, rows: np.ndarray, columns: np.ndarray, gaps: np.ndarray, moved: np.ndarray):
        """Lowers the gap between row rows[i] and centroid columns[i], in case it is smaller than
        what is stored, to gaps[i].
        """
        granules = rows // self.size
        np.minimum.at(
            self._gaps,
            (granules, columns),
            self._stored(gaps, self._lost[granules] + moved[columns]),
        )

    @staticmethod
    def _stored(gaps, lost):
        return np.nextafter((gaps + lost).astype(np.float32), np.float32(-np.inf))

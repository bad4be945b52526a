"""Bounds of how much nearer rows are to their centroid than to any other, while centroids move.

A bound is kept for a granule of a few rows and a centroid. For a row x with label l(x), let r(x) be
an upper bound of d(x, c_l(x)). Then

  gap(g, j) = min over the rows x of granule g with l(x) != j of d(x, c_j) - r(x),

and while it is above 0 no row of g can go to j. A move of c_j by m lowers the gap by at most m, and
a growth of r by at most that growth (triangle inequality, Elkan 2003). So no gap is rewritten when
centroids move: each centroid and each granule has a running total of what it has lost, and a gap is
stored with the totals of that moment added. With 16 rows a granule N K / 16 numbers are kept
instead of Elkan's N K.
"""

import numpy as np

_MIN_ROWS = 16
# Share of a gap's terms that covers the float32 rounding of a root, of a difference and of r.
_SLACK = 2.0**-20


def granule_rows(num_rows: int, num_clusters: int, max_rows: int, memory_bytes: int) -> int:
    """Returns how many rows a granule has, from 16 to `max_rows`, so that all bounds fit.

    Args:
      num_rows: N.
      num_clusters: K.
      max_rows: of a granule.
      memory_bytes: bytes that the bounds of all N rows may take.

    Returns:
      16 times a power of 2; 0 if the memory is too small even for the largest granules.
    """
    size = _MIN_ROWS
    while 4 * num_clusters * -(-num_rows // size) > memory_bytes:
        size *= 2
        if size > max_rows:
            return 0
    return size


class GapBounds:
    """The bounds of one window of rows.

    Attributes:
      size: int, rows of a granule.
    """

    def __init__(self, num_rows: int, num_clusters: int, size: int):
        """Starts with bounds that exclude nothing.

        Args:
          num_rows: n.
          num_clusters: K.
          size: rows of a granule; the last one may have fewer.
        """
        self.size = size
        self._starts = np.arange(0, num_rows, size)
        self._lost = np.zeros(len(self._starts))
        self._gaps = np.full([len(self._starts), num_clusters], -np.inf, np.float32)

    def grow(self, growth: np.ndarray) -> None:
        """Args: growth: [n] float, by how much r of every row has grown; negative: it fell."""
        self._lost += np.maximum.reduceat(growth, self._starts)

    def open_pairs(self, first: int, last: int, moved: np.ndarray) -> np.ndarray:
        """Returns for granules [first, last) which centroids a row of theirs might go to.

        Args:
          first, last: granules.
          moved: [K] float64, how far each centroid has moved in all.

        Returns:
          [last - first, K] bool.
        """
        return self._gaps[first:last] <= self._lost[first:last, None] + moved

    def store(
        self,
        granules: np.ndarray,
        columns: np.ndarray,
        lower: np.ndarray,
        reach: np.ndarray,
        moved: np.ndarray,
    ) -> None:
        """Stores new gaps.

        Args:
          granules: [m] int, ascending.
          columns: [c] int, centroids.
          lower: [rows of these granules, c] float32, lower bounds of d(x, c_j), infinite where j is
            the row's label. Overwritten.
          reach: [rows of these granules] float32, r.
          moved: [K] float64, as in `open_pairs`.
        """
        lower -= reach[:, None]
        missing = len(granules) * self.size - len(reach)
        if missing:
            lower = np.pad(lower, ((0, missing), (0, 0)), constant_values=np.inf)
            reach = np.pad(reach, (0, missing))
        gaps = lower.reshape(len(granules), self.size, -1).min(axis=1).astype(np.float64)
        largest = reach.reshape(len(granules), self.size).max(axis=1)
        gaps -= _SLACK * (np.abs(np.where(np.isfinite(gaps), gaps, 0)) + largest[:, None])
        self._gaps[granules[:, None], columns] = self._stored(
            gaps, self._lost[granules, None] + moved[columns]
        )

    def lower(
        self, rows: np.ndarray, columns: np.ndarray, gaps: np.ndarray, moved: np.ndarray
    ) -> None:
        """Lowers stored gaps that are larger than the gap of one of their rows.

        Args:
          rows: [m] int, places of rows in the window.
          columns: [m] int, a centroid for each.
          gaps: [m] float64, the gap of the row and the centroid.
          moved: [K] float64, as in `open_pairs`.
        """
        granules = rows // self.size
        np.minimum.at(
            self._gaps,
            (granules, columns),
            self._stored(gaps, self._lost[granules] + moved[columns]),
        )

    @staticmethod
    def _stored(gaps: np.ndarray, lost: np.ndarray) -> np.ndarray:
        return np.nextafter((gaps + lost).astype(np.float32), np.float32(-np.inf))

"""The rows of a block go to their nearest centroids: the inner part of accelerated passes.

Of the centroids that bounds leave open for the block, `screening` in few dimensions leaves a few,
and one matrix product gives the distances to these. Where rounding leaves open which is nearest,
distances in float64 decide.
"""

import numpy as np

from ccssl_tf.clustering.host import distances, screening
from ccssl_tf.clustering.host.block_threads import BlockThreads
from ccssl_tf.clustering.host.centroid_facts import CentroidFacts
from ccssl_tf.clustering.host.row_facts import RowFacts
from ccssl_tf.clustering.host.row_window import RowWindow


class BlockAssignment:
    """Assigns blocks of rows; those of different blocks may be assigned at the same time."""

    def __init__(self, facts: RowFacts, centroids: CentroidFacts, threads: BlockThreads):
        """Sets up the assignment.

        Args:
          facts: of all rows; changed for those of the blocks.
          centroids: of the pass that is made.
          threads: their memory `rows` and `centroids` is used.
        """
        self._facts, self._centroids, self._threads = facts, centroids, threads
        self._num_clusters = len(centroids.values)

    def assign(
        self,
        window: RowWindow,
        rows: np.ndarray,
        screens: bool,
        granules: np.ndarray,
        columns: np.ndarray,
    ) -> int:
        """Assigns the rows of some granules and renews their bounds.

        Args:
          window: that the granules belong to.
          rows: [W, D], those of the window.
          screens: whether distances are first bounded in few dimensions.
          granules: [m] int.
          columns: [c] int, the centroids that beside a row's present one can be its nearest.

        Returns:
          How many distances were computed.
        """
        facts = self._facts
        places = window.places_of(granules)
        local = window.order[places]
        ids = window.start + local
        if screens:
            lower, margin = self._screen(window, rows, local, columns)
            near = lower <= (facts.reach[ids] + margin)[:, None]
            some, those = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
        else:
            lower, margin = None, np.zeros(len(local), np.float32)
            some, those = np.arange(len(local)), np.arange(len(columns))
        labels, squares = facts.labels[ids], facts.squares[ids]
        if len(some):
            computed = self._assign_rows(window, rows, local[some], columns[those])
            np.sqrt(np.maximum(computed, 0, out=computed), out=computed)
            if lower is None:
                lower = computed
            else:
                computed += margin[some, None]
                lower[some[:, None], those] = computed
        assert lower is not None
        reach = facts.reach[ids]
        window.bounds.store(granules, columns, lower, reach + margin, self._centroids.moved)
        moved = np.flatnonzero((labels != facts.labels[ids]) & (labels >= 0))
        gaps = np.sqrt(squares[moved] * np.float64(1 - self._centroids.rounding)) - reach[moved]
        window.bounds.lower(places[moved], labels[moved], gaps, self._centroids.moved)
        return len(some) * len(those)

    def _screen(
        self, window: RowWindow, rows: np.ndarray, local: np.ndarray, columns: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Bounds distances in few dimensions.

        Returns:
          [n, c] float32, lower bounds of the distances of rows to `columns` but for their slack,
          infinite for a row's present centroid; and the slack of every row, [n] float32.
        """
        reduction = self._centroids.reduction
        assert reduction is not None
        if window.reduced:
            reduced, slack = window.reduced[0][local], window.reduced[1][local]
        else:
            reduced, slack = reduction.rows(self._facts.take_shifted(rows, local))
        are_all = len(columns) == self._num_clusters
        lower = screening.lower_bounds(
            reduced, self._centroids.reduced if are_all else self._centroids.reduced[columns]
        )
        self._exclude_labels(lower, window.start + local, columns)
        return lower, slack + self._centroids.slack[columns].max()

    def _assign_rows(
        self, window: RowWindow, rows: np.ndarray, local: np.ndarray, columns: np.ndarray
    ) -> np.ndarray:
        """Assigns rows, given that only `columns` and their present centroid can be the nearest.

        Returns:
          [n, c] float32, lower bounds of the squared distances; infinite for the centroids that
          rows had and for those they have now.
        """
        facts, rounding = self._facts, self._centroids.rounding
        ids = window.start + local
        norms, labels, squares = facts.norms[ids], facts.labels[ids], facts.squares[ids]
        are_all = len(columns) == self._num_clusters
        scaled = (
            self._centroids.shifted
            if are_all
            else self._threads.memory.centroids.take(self._centroids.shifted, columns)
        )
        # The formula is off by g (|x|^2 + |c|^2), so with norms smaller by twice that share it
        # gives lower bounds.
        shrink = np.float32(1 - 2 * rounding)
        lower = distances.squared_distances(
            facts.take_shifted(rows, local),
            scaled,
            norms * shrink,
            self._centroids.norms[columns] * shrink,
        )
        self._exclude_labels(lower, ids, columns)
        best = lower.argmin(axis=1)
        smallest = lower[np.arange(len(local)), best]
        upper = distances.upper_bounds(squares, rounding)
        some = np.flatnonzero(smallest <= upper)
        best = best[some]
        # What `best` is away from a row at most; centroids with higher lower bounds are not nearer.
        limit = smallest[some] + (norms[some] + self._centroids.norms[columns[best]]) * np.float32(
            4 * rounding
        )
        limit = np.minimum(limit, upper[some])
        near = lower[some] <= limit[:, None]
        may_stay = (labels[some] >= 0) & (squares[some] * np.float32(1 - rounding) <= limit)
        chosen = columns[best].astype(np.int32)
        unclear = np.flatnonzero(near.sum(axis=1) + may_stay > 1)
        if len(unclear):
            is_candidate = np.zeros([len(unclear), self._num_clusters], bool)
            is_candidate[:, columns] = near[unclear]
            staying = np.flatnonzero(may_stay[unclear])
            is_candidate[staying, labels[some[unclear[staying]]]] = True
            chosen[unclear] = distances.decide(
                rows[local[some[unclear]]], self._centroids.values, is_candidate
            )
        changed = chosen != labels[some]
        facts.move(window, rows, local[some[changed]], chosen[changed])
        self._exclude_labels(lower, ids, columns)
        return lower

    def _exclude_labels(self, lower: np.ndarray, ids: np.ndarray, columns: np.ndarray) -> None:
        """Makes the entries [n, c] of rows and the centroids of their labels infinite."""
        place = np.full(self._num_clusters + 1, -1)  # The last entry is for the label -1.
        place[columns] = np.arange(len(columns))
        places = place[self._facts.labels[ids]]
        there = np.flatnonzero(places >= 0)
        lower[there, places[there]] = np.inf

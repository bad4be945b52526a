"""Mini-batch k-means: some rows at a time move the centroids nearest to them.

Sculley 2010, "Web-scale k-means clustering", algorithm 1. A row moves its centroid at the rate 1 /
n, where n rows are counted there, so that the centroid is their mean. A row that comes again in a
later pass is first taken from where it was counted before (Newling and Fleuret 2016, "Nested
mini-batch k-means", section 3.1): else a centroid would drag along rows that have long been
another's. The first pass is Sculley's. Centroids at which few rows are counted move to rows of the
batch, and a fit ends when the smoothed inertia stops falling, both like scikit-learn's
MiniBatchKMeans.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from ccssl_tf.clustering.device.nearest import Centroids
from ccssl_tf.clustering.host.distances import common_shift

# Rows seen between two reassignments, for each cluster, as in scikit-learn.
_ROWS_BETWEEN = 10


@dataclasses.dataclass
class MinibatchState:
    """The state before a step; a fit continued from it ends with the same bits.

    Attributes:
      step: int, number of batches so far.
      centroids: [K, D] float32.
      shift: [D] float32, subtracted from rows and centroids before their products.
      sums: [K, D] float64, of the rows counted at each centroid.
      counts: [K] int64, how many these are.
      labels: [N] int32, the centroid at which each row is counted; -1: at none yet.
      smoothed: float, the mean squared distance of a row, averaged over about the last half pass
        with exponentially falling weights.
      lowest: float, the lowest `smoothed` so far.
      waited: int, number of batches since then; in the first pass 0.
      pass_before: float, `smoothed` at the end of the pass before.
      since_reassignment: int, number of rows since clusters were last reassigned.
      moved: int, number of rows of this pass that changed their centroid.
      reassigned: int, number of clusters reassigned in this pass.
    """

    step: int
    centroids: np.ndarray
    shift: np.ndarray
    sums: np.ndarray
    counts: np.ndarray
    labels: np.ndarray
    smoothed: float = float("inf")
    lowest: float = float("inf")
    waited: int = 0
    pass_before: float = float("inf")
    since_reassignment: int = 0
    moved: int = 0
    reassigned: int = 0

    @classmethod
    def start(cls, centroids: np.ndarray, num_examples: int) -> "MinibatchState":
        """Returns the state before the first step."""
        return cls(
            step=0,
            centroids=centroids.copy(),
            shift=common_shift(centroids),
            sums=np.zeros(centroids.shape),
            counts=np.zeros(len(centroids), np.int64),
            labels=np.full(num_examples, -1, np.int32),
        )


class MinibatchSteps:
    """Takes a state from step to step."""

    def __init__(self, state: MinibatchState, *, seed: int, reassignment_ratio: float):
        """Sets up the steps.

        Args:
          state: changed in place.
          seed: of the draw of rows to which centroids are moved.
          reassignment_ratio: clusters with fewer rows than this share of the largest cluster's are
            moved; 0: only empty ones.
        """
        self.state, self._seed, self._ratio = state, seed, reassignment_ratio
        self._centroids = Centroids(state.centroids, state.shift)

    def step(
        self,
        positions: np.ndarray,
        rows: np.ndarray,
        not_finite: Callable[[int], Exception],
    ) -> None:
        """Lets one batch move the centroids.

        Args:
          positions: [B] int64, ascending.
          rows: [B, D] float32.
          not_finite: called with the position of a row that is not finite; returns the error to
            raise.
        """
        state = self.state
        labels, squares = self._centroids.nearest(rows)
        is_finite = np.isfinite(squares)
        if not is_finite.all():
            raise not_finite(int(positions[np.argmin(is_finite)]))
        changed = np.flatnonzero(labels != state.labels[positions])
        touched = [labels[changed], state.labels[positions[changed]]]
        self._count(positions[changed], rows[changed], labels[changed])
        state.moved += len(changed)
        state.since_reassignment += len(rows)
        if state.since_reassignment >= min(_ROWS_BETWEEN * len(state.counts), len(state.labels)):
            touched.append(self._reassign(positions, rows, squares))
        numbers = np.unique(np.concatenate(touched))
        numbers = numbers[numbers >= 0]
        numbers = numbers[state.counts[numbers] > 0]
        state.centroids[numbers] = state.sums[numbers] / state.counts[numbers, None]
        self._centroids.change(numbers, state.centroids[numbers])
        self._smooth(float(squares.mean(dtype=np.float64)), len(rows))
        state.step += 1

    def _count(self, positions: np.ndarray, rows: np.ndarray, labels: np.ndarray) -> None:
        """Counts rows at the clusters `labels`, and no longer where they were counted."""
        state = self.state
        for position, row, label in zip(positions.tolist(), rows, labels.tolist(), strict=True):
            before = state.labels[position]
            if before >= 0:
                state.counts[before] -= 1
                # The sum of no rows is 0, whatever rounding makes of it.
                state.sums[before] = state.sums[before] - row if state.counts[before] else 0
            state.sums[label] += row
            state.counts[label] += 1
            state.labels[position] = label

    def _reassign(self, positions: np.ndarray, rows: np.ndarray, squares: np.ndarray) -> np.ndarray:
        """Moves clusters with few rows to rows of the batch, drawn at random.

        They are at most half as many as the batch has rows.

        Returns:
          The clusters whose sums have changed, [c] int.
        """
        state = self.state
        state.since_reassignment = 0
        limit = max(self._ratio * state.counts.max(), 1)
        low = np.flatnonzero(state.counts < limit)
        low = low[np.argsort(state.counts[low], kind="stable")][: max(len(rows) // 2, 1)]
        # A row that lies on its centroid, or is the only one of its cluster, gains nothing.
        free = np.flatnonzero(
            (squares > 0)
            & (state.counts[state.labels[positions]] > 1)
            & ~np.isin(state.labels[positions], low)
        )
        generator = np.random.default_rng([self._seed, 3, state.step])
        chosen = generator.permutation(free)[: len(low)]
        donors = state.labels[positions[chosen]]
        # A cluster whose chosen rows are all that it has keeps them.
        left = state.counts.copy()
        np.subtract.at(left, donors, 1)
        chosen, donors = chosen[left[donors] > 0], donors[left[donors] > 0]
        low = low[: len(chosen)]
        emptied = np.append(np.isin(np.arange(len(state.counts)), low), False)
        state.labels[emptied[state.labels]] = -1
        state.sums[low], state.counts[low] = 0, 0
        self._count(positions[chosen], rows[chosen], low)
        state.reassigned += len(low)
        return np.concatenate([low, donors])

    def _smooth(self, mean: float, num_rows: int) -> None:
        """Takes the mean squared distance of a batch of rows into `smoothed` and what follows."""
        state = self.state
        share = min(2 * num_rows / (len(state.labels) + 1), 1.0)
        state.smoothed = (
            mean if np.isinf(state.smoothed) else state.smoothed * (1 - share) + mean * share
        )
        # In the first pass the batches are not counted: a row may be the only one of its centroid,
        # so that distances are too small yet.
        lower = state.smoothed < state.lowest or (state.step + 1) * num_rows <= len(state.labels)
        state.lowest, state.waited = (
            (state.smoothed, 0) if lower else (state.lowest, state.waited + 1)
        )

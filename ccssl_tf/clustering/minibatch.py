"""Mini-batch k-means (Sculley 2010, "Web-scale k-means clustering", algorithm 1): some rows at a
time move the centroids nearest to them.

A row moves its centroid at the rate 1 / n, n the rows counted there: the centroid is their mean. A
row that comes again in a later pass is first taken from where it was counted before (Newling and
Fleuret 2016, "Nested mini-batch k-means", section 3.1), so that a centroid does not drag along rows
that have long been another's; the first pass is Sculley's. Centroids that hold few rows move to
rows of the batch, and a fit ends when the smoothed inertia stops falling, both like scikit-learn's
MiniBatchKMeans.
"""

import dataclasses

import numpy as np

from ccssl_tf.clustering.nearest import Centroids

# Rows seen for each cluster between two reassignments, as in scikit-learn.
_ROWS_BETWEEN = 10


@dataclasses.dataclass
class MinibatchState:
    """The state before a step; a fit continued from it ends with the same bits.

    Attributes:
      step: batches so far.
      centroids: [K, D] float32.
      shift: [D] float32, taken from rows and centroids before their products.
      sums: [K, D] float64 of the rows counted at each centroid.
      counts: [K] int64, how many these are.
      labels: [N] int32, where each row is counted; -1: nowhere yet.
      smoothed: the mean squared distance, averaged over about the last half pass with exponentially
        falling weights.
      lowest: the lowest `smoothed` so far.
      waited: batches since then, after the first pass.
      pass_before: `smoothed` at the end of the pass before.
      since_reassignment: rows since clusters were last reassigned.
      moved: rows of this pass that changed their centroid.
      reassigned: clusters reassigned in this pass.
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
        shift = centroids.mean(axis=0, dtype=np.float64).astype(np.float32)
        counts, labels = np.zeros(len(centroids), np.int64), np.full(num_examples, -1, np.int32)
        return cls(0, centroids.copy(), shift, np.zeros(centroids.shape), counts, labels)


class MinibatchSteps:
    """Takes a state from step to step."""

    def __init__(self, state: MinibatchState, *, seed: int, reassignment_ratio: float):
        """Sets up the steps.

        Args:
          state: changed in place.
          seed: of the rows that centroids are moved to.
          reassignment_ratio: clusters with fewer rows than this share of the largest one's are
            moved; 0: only empty ones.
        """
        self.state, self._seed, self._ratio = state, seed, reassignment_ratio
        self._centroids = Centroids(state.centroids, state.shift)

    def step(self, positions: np.ndarray, rows: np.ndarray, not_finite):
        """Lets one batch move the centroids.

        Args:
          positions: [B] int64, ascending.
          rows: [B, D] float32.
          not_finite: called with the position of a row that is not finite; returns the error to
            raise.
        """
        state = self.state
        labels, squares = self._centroids.nearest(rows)
        finite = np.isfinite(squares)
        if not finite.all():
            raise not_finite(int(positions[np.argmin(finite)]))
        changed = np.flatnonzero(labels != state.labels[positions])
        touched = [labels[changed], state.labels[positions[changed]]]
        self._count(positions[changed], rows[changed], labels[changed])
        state.moved += len(changed)
        state.since_reassignment += len(rows)
        if state.since_reassignment >= min(_ROWS_BETWEEN * len(state.counts), len(state.labels)):
            touched.append(self._reassign(positions, rows, squares))
        touched = np.unique(np.concatenate(touched))
        touched = touched[touched >= 0]
        held = touched[state.counts[touched] > 0]
        state.centroids[held] = state.sums[held] / state.counts[held, None]
        self._centroids.change(held, state.centroids[held])
        self._smooth(float(squares.mean(dtype=np.float64)), len(rows))
        state.step += 1

    def _count(self, positions, rows, labels):
        """Counts rows at the clusters `labels`, and no longer where they were."""
        state = self.state
        for position, row, label in zip(positions.tolist(), rows, labels.tolist(), strict=True):
            before = state.labels[position]
            if before >= 0:
                state.counts[before] -= 1
                # Of no rows the sum is 0, whatever rounding left.
                state.sums[before] = state.sums[before] - row if state.counts[before] else 0
            state.sums[label] += row
            state.counts[label] += 1
            state.labels[position] = label

    def _reassign(self, positions, rows, squares):
        """Moves clusters that hold few rows, at most half as many as the batch has rows, to rows of
        the batch; returns which.
        """
        state = self.state
        state.since_reassignment = 0
        limit = max(self._ratio * state.counts.max(), 1)
        low = np.flatnonzero(state.counts < limit)
        low = low[np.argsort(state.counts[low], kind="stable")][: max(len(rows) // 2, 1)]
        # A row that lies on its centroid, or is all that its cluster has, gains nothing.
        free = np.flatnonzero(
            (squares > 0)
            & (state.counts[state.labels[positions]] > 1)
            & ~np.isin(state.labels[positions], low)
        )
        generator = np.random.default_rng([self._seed, 3, state.step])
        chosen = generator.permutation(free)[: len(low)]
        donors = state.labels[positions[chosen]]
        # Clusters that would be left without rows give none.
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

    def _smooth(self, mean, rows):
        state = self.state
        share = min(2 * rows / (len(state.labels) + 1), 1.0)
        state.smoothed = (
            mean if np.isinf(state.smoothed) else state.smoothed * (1 - share) + mean * share
        )
        # In the first pass, when a row may be all that its centroid is made of, nothing is expected
        # yet.
        lower = state.smoothed < state.lowest or (state.step + 1) * rows <= len(state.labels)
        state.lowest, state.waited = (
            (state.smoothed, 0) if lower else (state.lowest, state.waited + 1)
        )

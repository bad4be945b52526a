"""What accelerated passes compute of the centroids: of one that has not moved it is kept."""

import numpy as np

from ccssl_tf.clustering import distances
from ccssl_tf.clustering.block_threads import BlockThreads, parts
from ccssl_tf.clustering.centroid_order import neighbour_ranks

_CENTROIDS_A_PART = 128


class CentroidFacts:
    """Of the centroids of one pass; `follow` goes on to those of the next.

    Attributes:
      values: [K, D] float32.
      shift: [D] float32, a vector that rows and centroids are shifted by: the mean of the first
        centroids.
      shifted: [K, D] float32, -2 (c - shift).
      norms: [K] float32, |c - shift|^2.
      drift: [K] float64, at least how far each has moved since the pass before; infinite in the
        first pass.
      moved: [K] float64, the sum of the drifts after the first pass.
      is_column: [K] bool, whether no centroid before it is equal: of equal ones only the first can
        be anybody's nearest.
      columns: [k] the numbers of these.
      reduction: `screening.Reduction`; None before `reduce`.
      reduced: [K, p + 3] float32, its centroids, and
      slack: [K] float32, their slack.
    """

    def __init__(self, num_clusters: int, dim: int, threads: BlockThreads):
        """Args: num_clusters: K; dim: D; threads: what is computed is computed in these."""
        self._threads = threads
        self.values, self.shifted = (
            np.full([num_clusters, dim], np.nan, np.float32),
            np.empty([num_clusters, dim], np.float32),
        )
        self.norms, self.moved = np.empty(num_clusters, np.float32), np.zeros(num_clusters)
        self.shift = self.reduction = None
        self._rounding = distances.rounding(dim)

    def follow(self, centroids: np.ndarray):
        """Args: centroids: [K, D] float32 of the next pass."""
        if self.shift is None:
            self.shift = centroids.mean(axis=0, dtype=np.float64).astype(np.float32)
        self.drift = np.zeros(len(centroids))

        def follow_some(numbers):
            numbers = numbers[(centroids[numbers] != self.values[numbers]).any(axis=1)]
            squares = distances.square_norms(centroids[numbers] - self.values[numbers])
            self.drift[numbers] = np.sqrt(distances.at_most(squares, self._rounding))
            self.values[numbers] = centroids[numbers]
            self.shifted[numbers], self.norms[numbers] = distances.shift_centroids(
                centroids[numbers], self.shift
            )
            if self.reduction and len(numbers):
                self._reduce_some(numbers)

        self._run(follow_some)
        is_new = np.isnan(self.drift)
        self.moved[~is_new] += self.drift[~is_new]
        self.drift[is_new] = np.inf
        self.is_column = distances.is_first_of_equals(self.values, self.norms)
        self.columns = np.flatnonzero(self.is_column)
        self._ranks = None

    def reduce(self, reduction):
        """Args: reduction: `screening.Reduction` of the shifted rows; the centroids are reduced by
        it from now on.
        """
        self.reduction = reduction
        self.reduced, self.slack = (
            np.empty([len(self.values), reduction.dim], np.float32),
            np.empty(len(self.values), np.float32),
        )
        self._run(self._reduce_some)

    @property
    def ranks(self) -> np.ndarray:
        """The place of every centroid in an order in which similar ones are neighbours,
        [K] int64.
        """
        if self._ranks is None:
            self._ranks = neighbour_ranks(self.values)
        return self._ranks

    def _reduce_some(self, numbers):
        self.reduced[numbers], self.slack[numbers] = self.reduction.centroids(
            -0.5 * self.shifted[numbers]
        )

    def _run(self, function):
        self._threads.run(function, parts(np.arange(len(self.values)), _CENTROIDS_A_PART))

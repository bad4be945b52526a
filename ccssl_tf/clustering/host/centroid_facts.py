"""What accelerated passes compute of the centroids, and keep of those that do not move."""

from collections.abc import Callable

import numpy as np

from ccssl_tf.clustering.host import distances
from ccssl_tf.clustering.host.block_threads import BlockThreads, parts
from ccssl_tf.clustering.host.centroid_order import neighbour_ranks
from ccssl_tf.clustering.host.screening import Reduction

# Number of centroids that a thread works on together.
_CENTROIDS_A_PART = 128


class CentroidFacts:
    """Facts of the centroids of one pass; `follow` goes on to those of the next.

    Attributes:
      values: [K, D] float32, the centroids c.
      shift: [D] float32, the mean of the first centroids, subtracted from rows and centroids.
      shifted: [K, D] float32, -2 (c - shift).
      norms: [K] float32, |c - shift|^2.
      drift: [K] float64, upper bounds of how far each has moved since the pass before; infinite in
        the first pass.
      moved: [K] float64, the sums of these over all passes but the first.
      is_column: [K] bool, whether no centroid before it is equal: of equal ones only the first can
        be a row's nearest.
      columns: [k] int64, the numbers of these.
      rounding: float, g of `distances` for D.
      reduction: `screening.Reduction`; None before `reduce`.
      reduced: [K, p + 3] float32, the centroids reduced by it, and
      slack: [K] float32, their slack.
    """

    def __init__(self, num_clusters: int, dim: int, threads: BlockThreads):
        """Args: num_clusters: K; dim: D; threads: all is computed in these."""
        self._threads = threads
        self.values = np.full([num_clusters, dim], np.nan, np.float32)
        self.shifted = np.empty([num_clusters, dim], np.float32)
        self.norms = np.empty(num_clusters, np.float32)
        self.drift = np.full(num_clusters, np.inf)
        self.moved = np.zeros(num_clusters)
        self.shift: np.ndarray | None = None
        self.reduction: Reduction | None = None
        self._ranks: np.ndarray | None = None
        self.rounding = distances.rounding(dim)

    def follow(self, centroids: np.ndarray) -> None:
        """Args: centroids: [K, D] float32 of the next pass."""
        shift = distances.common_shift(centroids) if self.shift is None else self.shift
        self.shift = shift
        self.drift = np.zeros(len(centroids))

        def follow_some(numbers: np.ndarray) -> None:
            numbers = numbers[(centroids[numbers] != self.values[numbers]).any(axis=1)]
            squares = distances.square_norms(centroids[numbers] - self.values[numbers])
            self.drift[numbers] = np.sqrt(distances.upper_bounds(squares, self.rounding))
            self.values[numbers] = centroids[numbers]
            self.shifted[numbers], self.norms[numbers] = distances.shift_centroids(
                centroids[numbers], shift
            )
            if self.reduction and len(numbers):
                self._reduce_some(numbers)

        self._run(follow_some)
        # Before the first pass the values are NaN, and so are the distances from them.
        is_new = np.isnan(self.drift)
        self.moved[~is_new] += self.drift[~is_new]
        self.drift[is_new] = np.inf
        self.is_column = distances.is_first_of_equals(self.values, self.norms)
        self.columns = np.flatnonzero(self.is_column)
        self._ranks = None

    def reduce(self, reduction: Reduction) -> None:
        """Args: reduction: of the shifted rows; reduces the centroids of this and later passes."""
        self.reduction = reduction
        self.reduced = np.empty([len(self.values), reduction.dim], np.float32)
        self.slack = np.empty(len(self.values), np.float32)
        self._run(self._reduce_some)

    @property
    def ranks(self) -> np.ndarray:
        """The place of each centroid in an order in which neighbours are similar, [K] int64."""
        if self._ranks is None:
            self._ranks = neighbour_ranks(self.values)
        return self._ranks

    def _reduce_some(self, numbers: np.ndarray) -> None:
        assert self.reduction is not None
        self.reduced[numbers], self.slack[numbers] = self.reduction.centroids(
            -0.5 * self.shifted[numbers]
        )

    def _run(self, function: Callable[[np.ndarray], None]) -> None:
        self._threads.run(function, parts(np.arange(len(self.values)), _CENTROIDS_A_PART))

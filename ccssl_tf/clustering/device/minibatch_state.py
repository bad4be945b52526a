"""The state of a mini-batch fit: what a checkpoint keeps, and what is read of it meanwhile."""

import dataclasses

import numpy as np

from ccssl_tf.clustering.host.distances import needed_shift


@dataclasses.dataclass
class MinibatchState:
    """The state before a step; a fit continued from it ends with the same bits.

    Attributes:
      step: int, number of batches so far.
      centroids: [K, D] float32.
      shift: [D] float32, subtracted from rows and centroids before their products; zeros where that
        does not pay.
      sums: [K, D] float64, of the rows counted at each centroid, times their weights.
      counts: [K] int64, how many these are.
      weights: [K] float64, the sum of their weights.
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
    weights: np.ndarray
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
            shift=needed_shift(centroids),
            sums=np.zeros(centroids.shape),
            counts=np.zeros(len(centroids), np.int64),
            weights=np.zeros(len(centroids)),
            labels=np.full(num_examples, -1, np.int32),
        )


@dataclasses.dataclass(frozen=True)
class Progress:
    """What the host reads of a state once in many steps.

    Attributes:
      step, smoothed, waited, moved, reassigned: as of `MinibatchState`.
      not_finite: int, position of a row that is not finite, at which the steps ended; -1: none.
    """

    step: int
    smoothed: float
    waited: int
    moved: int
    reassigned: int
    not_finite: int

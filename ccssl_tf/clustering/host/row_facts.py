"""What accelerated passes compute of the rows, and keep from pass to pass."""

import numpy as np

from ccssl_tf.clustering.host import distances
from ccssl_tf.clustering.host.block_threads import BlockThreads
from ccssl_tf.clustering.host.centroid_facts import CentroidFacts
from ccssl_tf.clustering.host.measuring import measure
from ccssl_tf.clustering.host.row_window import RowWindow


class RowFacts:
    """Facts of all N rows.

    Its methods take a window, its `rows` [W, D], and `local` [n] int: some of them, by number in
    the window.

    Attributes:
      labels: [N] int32, the nearest centroid as far as it is known; -1: none yet.
      squares: [N] float32, the squared distance to it, as a sum of squared differences.
      reach: [N] float32, an upper bound of the distance to it.
      norms: [N] float32, |x - shift|^2.
    """

    def __init__(self, labels: np.ndarray, centroids: CentroidFacts, threads: BlockThreads):
        """Sets up the facts.

        Args:
          labels: [N] int32, -1: none yet; not changed.
          centroids: of the pass that is made.
          threads: their memory `rows` and `centroids` is used.
        """
        self.labels = labels.copy()
        self.squares = np.full(len(labels), np.inf, np.float32)
        self.reach = np.full(len(labels), np.inf, np.float32)
        self.norms = np.full(len(labels), np.nan, np.float32)
        self._centroids, self._threads = centroids, threads

    def take_shifted(self, rows: np.ndarray, local: np.ndarray) -> np.ndarray:
        """Returns x - shift of the rows at `local`, [n, D] float32, valid until the next call."""
        taken = self._threads.memory.rows.take(rows, local)
        taken -= self._centroids.shift
        return taken

    def measure(self, window: RowWindow, rows: np.ndarray, local: np.ndarray) -> None:
        """Computes `squares` and `reach` from the labels."""
        ids = window.start + local
        measure(
            rows,
            self._centroids.values,
            self.labels[window.rows],
            self.squares[window.rows],
            self._threads,
            local,
        )
        self.reach[ids] = np.sqrt(
            distances.upper_bounds(self.squares[ids], self._centroids.rounding)
        )

    def move(
        self, window: RowWindow, rows: np.ndarray, local: np.ndarray, labels: np.ndarray
    ) -> None:
        """Gives rows the labels [n] int32 of nearer centroids, and computes the other facts."""
        if not len(local):
            return
        ids = window.start + local
        self.labels[ids] = labels
        before = self.reach[ids]
        self.measure(window, rows, local)
        # The distance to the nearer centroid has the upper bound that the old distance had.
        self.reach[ids] = np.minimum(self.reach[ids], before)

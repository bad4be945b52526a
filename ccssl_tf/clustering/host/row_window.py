"""Rows that accelerated passes have in memory together: their order, bounds and reduced copies."""

import numpy as np

from ccssl_tf.clustering.host.centroid_facts import CentroidFacts
from ccssl_tf.clustering.host.gap_bounds import GapBounds


class RowWindow:
    """The rows [start, start + size) of a source, in an order that is sorted by cluster.

    Attributes:
      start: int, position of the first row.
      size: int, number of rows.
      rows: slice, the positions of all of them.
      order: [size] int32, the rows, counted from `start`, in the order in which they make granules
        and blocks.
      bounds: `GapBounds` of the rows in that order.
      reduced: the rows in few dimensions [size, p + 3] float32 and their slack [size] float32; None
        where they are not kept.
      is_met: bool, whether the norms, and squares by label, of the rows are computed.
    """

    def __init__(self, start: int, size: int, num_clusters: int, granule: int):
        """Args: start, size: see the class; num_clusters: K; granule: rows of a granule."""
        self.start, self.size, self.rows = start, size, slice(start, start + size)
        self.order = np.arange(size, dtype=np.int32)
        self.reduced: tuple[np.ndarray, np.ndarray] | None = None
        self.is_met = False
        self._num_clusters, self._granule = num_clusters, granule
        self.bounds = GapBounds(size, num_clusters, granule)

    def sort(self, ranks: np.ndarray) -> None:
        """Orders the rows anew and forgets the bounds.

        Args:
          ranks: [size] int, for each row in its present order the rank of its cluster.
        """
        self.order = self.order[np.argsort(ranks, kind="stable")]
        self.bounds = GapBounds(self.size, self._num_clusters, self._granule)

    def open_blocks(
        self, centroids: CentroidFacts, block_rows: int
    ) -> tuple[list[tuple[np.ndarray, np.ndarray]], int]:
        """Returns where a row might go to another cluster.

        Args:
          centroids: of this pass.
          block_rows: rows of a block, a multiple of those of a granule.

        Returns:
          For each block with such rows its granules [m] and the centroids [c] in question; and the
          number of pairs of a row and a centroid in all of them.
        """
        blocks, pairs, size = [], 0, self.bounds.size
        per_block, count = block_rows // size, -(-self.size // size)
        for first in range(0, count, per_block):
            last = min(first + per_block, count)
            is_open = self.bounds.open_pairs(first, last, centroids.moved) & centroids.is_column
            columns = np.flatnonzero(is_open.any(axis=0))
            if len(columns):
                granules = first + np.flatnonzero(is_open.any(axis=1))
                blocks.append((granules, columns))
                pairs += min(len(granules) * size, self.size) * len(columns)
        return blocks, pairs

    def places_of(self, granules: np.ndarray) -> np.ndarray:
        """Returns the places in `order` of the rows of granules [m]: [n] int."""
        places = (granules[:, None] * self.bounds.size + np.arange(self.bounds.size)).ravel()
        return places[places < self.size]

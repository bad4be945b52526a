"""Contiguous rows of another source of rows."""

from collections.abc import Iterable, Iterator

import numpy as np

from ccssl_tf.data.feature_source import FeatureSource
from ccssl_tf.runs.files import fingerprint_of


class PartSource(FeatureSource):
    """Rows [start, stop) of a source; a feature directory reads only the shards that hold them."""

    def __init__(self, source: FeatureSource, rows: slice):
        """Args: source: of all rows; rows: which of them, with start and stop, step 1."""
        self._source, self._rows = source, rows
        self.in_memory, self.dim, self.dtype = source.in_memory, source.dim, source.dtype
        self.num_examples = rows.stop - rows.start
        self.weights = source.weights_of(rows)
        self.num_bytes, self.bytes_per_pass = (
            size * self.num_examples // source.num_examples
            for size in (source.num_bytes, source.bytes_per_pass)
        )

    def fingerprint(self) -> str:
        """Returns a digest of the rows of the whole source and of which these are."""
        return fingerprint_of([self._source.fingerprint(), self._rows.start, self._rows.stop])

    def chunks(self, rows: int) -> Iterator[np.ndarray]:
        """Yields the rows in order as [rows, D]; the last chunk may have fewer."""
        blocks, places = self._source.blocks_holding(np.arange(self._rows.start, self._rows.stop))
        first, last = int(places[0]), int(places[-1]) + 1
        waiting: list[np.ndarray] = []
        end, num_waiting = 0, 0
        for block in blocks:
            start, end = end, end + len(block)
            block = block[max(first - start, 0) : max(last - start, 0)]
            while len(block):
                waiting.append(block[: rows - num_waiting])
                block = block[rows - num_waiting :]
                num_waiting += len(waiting[-1])
                if num_waiting == rows:
                    yield np.concatenate(waiting) if len(waiting) > 1 else waiting[0]
                    waiting, num_waiting = [], 0
        if waiting:
            yield np.concatenate(waiting)

    def blocks_holding(self, positions: np.ndarray) -> tuple[Iterable[np.ndarray], np.ndarray]:
        """Returns blocks of the whole source with the rows at `positions`, and these in there."""
        return self._source.blocks_holding(positions + self._rows.start)

    def not_finite(self, position: int) -> Exception:
        """Returns the whole source's error for the row at `position` of this part."""
        return self._source.not_finite(position + self._rows.start)

"""Some rows of another source, wherever they lie in it."""

import hashlib
from collections.abc import Iterable, Iterator

import numpy as np

from ccssl_tf.data.feature_source import FeatureSource
from ccssl_tf.runs.files import fingerprint_of

# Rows of the blocks that are given where only some of these rows are wanted.
_PIECE_ROWS = 1024


class SomeRows(FeatureSource):
    """The rows of a source at some positions; of a feature directory shards without any are not
    read.
    """

    in_memory = False

    def __init__(self, source: FeatureSource, positions: np.ndarray):
        """Args: source: of all rows; positions: [n] int, ascending, of those that are these."""
        self._source, self._positions = source, positions
        self.num_examples, self.dim, self.dtype = len(positions), source.dim, source.dtype
        self.weights = None if source.weights is None else source.weights[positions]
        self.num_bytes = source.num_bytes * len(positions) // source.num_examples
        self.bytes_per_pass = source.bytes_per_pass

    def fingerprint(self) -> str:
        """Returns a digest of the rows of the whole source and of which these are."""
        digest = hashlib.sha256(self._positions.astype(np.int64).tobytes()).hexdigest()
        return fingerprint_of([self._source.fingerprint(), digest])

    def chunks(self, rows: int) -> Iterator[np.ndarray]:
        """Yields the rows in order as [rows, D], copies; the last chunk may have fewer."""
        waiting: list[np.ndarray] = []
        room = rows
        for piece in self._pieces(self._positions, rows):
            while len(piece):
                waiting.append(piece[:room])
                piece, room = piece[room:], room - len(waiting[-1])
                if not room:
                    yield np.concatenate(waiting)
                    waiting, room = [], rows
        if waiting:
            yield np.concatenate(waiting)

    def blocks_holding(self, positions: np.ndarray) -> tuple[Iterable[np.ndarray], np.ndarray]:
        """Returns blocks of the rows at `positions` alone, and these in there."""
        wanted = self._positions[positions]
        return self._pieces(wanted, _PIECE_ROWS), np.arange(len(positions))

    def _pieces(self, positions: np.ndarray, rows: int) -> Iterator[np.ndarray]:
        """Yields the rows at positions in the whole source, as [n, D], n at most `rows`."""
        blocks, places = self._source.blocks_holding(positions)
        start = done = 0
        for block in blocks:
            stop = int(np.searchsorted(places, start + len(block)))
            for at in range(done, stop, rows):
                yield block[places[at : min(at + rows, stop)] - start]
            start, done = start + len(block), stop

    def not_finite(self, position: int) -> Exception:
        """Returns the whole source's error for the row at `position` of these."""
        return self._source.not_finite(int(self._positions[position]))

"""Which rows make mini-batch number `step`: a function of seed and step that a disk can follow.

A pass takes every row once. Rows in memory are permuted as a whole. Others are read in windows that
fit the memory: the parts of the source (shards of a directory) are permuted and put together to
windows, and the rows permuted inside each; those of a tf.data follow each other in its order.
Nothing of this is kept in a checkpoint: whole windows before the first batch that is wanted are
left out, unread where the source can leave rows out.
"""

import concurrent.futures
import itertools
from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np

from ccssl_tf.clustering.rows.chunk_reader import ChunkReader
from ccssl_tf.clustering.rows.row_copies import as_float32

# A window is 1 / 4 of the memory: beside the one in use there are the next one, and the copy that
# is made of it.
_MEMORY_FRACTION = 4

# Positions [n] int64 of rows, and the rows [n, D].
_Rows = tuple[np.ndarray, np.ndarray]
_Item = TypeVar("_Item")


class Minibatches:
    """Draws the batches of a source, pass after pass.

    Attributes:
      num_examples: int, N.
      batch_rows: int, B, at most N; the last batch of a pass may have fewer rows.
      steps_per_pass: int, number of batches of a pass.
    """

    def __init__(self, reader: ChunkReader, batch_rows: int, seed: int):
        """Args: reader: of the source; batch_rows: B; seed: of the permutations."""
        self._reader, self._seed = reader, seed
        self.num_examples = reader.source.num_examples
        self.batch_rows = min(batch_rows, self.num_examples)
        self.steps_per_pass = -(-self.num_examples // self.batch_rows)
        row_bytes = reader.source.dim * reader.source.dtype.itemsize
        self._window_rows = max(
            reader.memory_bytes // _MEMORY_FRACTION // row_bytes, self.batch_rows
        )

    def from_step(self, step: int) -> Iterator[_Rows]:
        """Yields batch number `step` and all that follow, without end.

        A batch is its positions [b] int64, ascending, and its rows [b, D] float32.
        """
        number, skip = divmod(step, self.steps_per_pass)
        while True:
            yield from self._pass(number, skip * self.batch_rows)
            number, skip = number + 1, 0

    def _pass(self, number: int, skip: int) -> Iterator[_Rows]:
        """Yields the batches of pass `number` without the first `skip` rows."""
        generator = np.random.default_rng([self._seed, 2, number])
        if self._reader.keeps:
            self._reader.load()
            order = generator.permutation(self.num_examples)
            for start in range(skip, self.num_examples, self.batch_rows):
                positions = np.sort(order[start : start + self.batch_rows])
                yield positions, self._reader.take(positions)
        else:
            yield from self._batches_of(self._shuffled_windows(generator, skip))

    def _shuffled_windows(self, generator: np.random.Generator, skip: int) -> Iterator[_Rows]:
        """Yields rows in the order of the pass, without the first `skip`; B or fewer at a time."""
        windows = self._reader.source.windows(generator, self._window_rows)
        orders = [generator.permutation(sum(map(len, window))) for window in windows]
        first = 0
        while first < len(windows) and skip >= len(orders[first]):
            skip -= len(orders[first])
            first += 1
        blocks = _one_ahead(self._reader.source.read_windows(windows, first))
        for window, order, rows in zip(windows[first:], orders[first:], blocks, strict=True):
            positions = np.concatenate([np.arange(part.start, part.stop) for part in window])
            for start in range(skip, len(order), self.batch_rows):
                some = order[start : start + self.batch_rows]
                yield positions[some], rows[some]
            skip = 0

    def _batches_of(self, pieces: Iterable[_Rows]) -> Iterator[_Rows]:
        """Puts pieces of at most B rows together to batches of B; the last may be smaller."""
        waiting: list[_Rows] = []
        for positions, rows in pieces:
            self._reader.check_stop()
            room = self.batch_rows - sum(len(piece) for piece, _ in waiting)
            waiting.append((positions[:room], rows[:room]))
            if len(positions) >= room:
                yield _join(waiting)
                waiting = [(positions[room:], rows[room:])]
        if sum(len(piece) for piece, _ in waiting):
            yield _join(waiting)


def _join(pieces: list[_Rows]) -> _Rows:
    positions = np.concatenate([positions for positions, _ in pieces])
    rows = np.concatenate([rows for _, rows in pieces])
    order = np.argsort(positions)
    return positions[order], as_float32(rows[order])


def _one_ahead(iterable: Iterable[_Item]) -> Iterator[_Item]:
    """Yields the items while a thread already reads the next one."""
    iterator = iter(iterable)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        # A list of the next item; it is empty at the end.
        waiting = pool.submit(lambda: list(itertools.islice(iterator, 1)))
        while item := waiting.result():
            waiting = pool.submit(lambda: list(itertools.islice(iterator, 1)))
            yield item[0]

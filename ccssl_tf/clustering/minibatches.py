"""Which rows make mini-batch number `step`: a pure function of seed and step, in an order that a
disk can follow.

A pass takes every row once. Rows in memory are permuted as a whole. Others are read in windows that
fit the memory: the parts of the source (shards of a directory) are permuted and put together to
windows, and the rows permuted inside each; a tf.data can only be read in its own order. Nothing of
this is kept in a checkpoint; whole windows before the first batch wanted are not read.
"""

import concurrent.futures

import numpy as np

from ccssl_tf.clustering.distances import as_float32

# The window in use, the next one and the copy made of it share the memory with the rest.
_WINDOW_SHARE = 4


class Minibatches:
    """Draws the batches of a source, pass after pass."""

    def __init__(self, reader, batch_rows: int, seed: int):
        """Sets up the drawing.

        Args:
          reader: ChunkReader of the source.
          batch_rows: B; the last batch of a pass may be smaller.
          seed: of the permutations.

        Attributes: steps_per_pass: batches.
        """
        self._reader, self._seed = reader, seed
        self.num_examples = reader.source.num_examples
        self.batch_rows = min(batch_rows, self.num_examples)
        self.steps_per_pass = -(-self.num_examples // self.batch_rows)
        row_bytes = reader.source.dim * reader.source.dtype.itemsize
        self._window_rows = max(reader.memory_bytes // _WINDOW_SHARE // row_bytes, self.batch_rows)

    def from_step(self, step: int):
        """Yields (positions [b] int64 ascending, rows [b, D] float32) of batch `step` and all that
        follow, without end.
        """
        number, skip = divmod(step, self.steps_per_pass)
        while True:
            yield from self._pass(number, skip * self.batch_rows)
            number, skip = number + 1, 0

    def _pass(self, number, skip):
        generator = np.random.default_rng([self._seed, 2, number])
        if self._reader.keeps:
            self._reader.load()
            order = generator.permutation(self.num_examples)
            for start in range(skip, self.num_examples, self.batch_rows):
                positions = np.sort(order[start : start + self.batch_rows])
                yield positions, self._reader.take(positions)
        else:
            yield from self._batches_of(self._shuffled_windows(generator, skip))

    def _shuffled_windows(self, generator, skip):
        """Yields (positions [w], rows [w, D]) in the order of the pass, without the first `skip`
        rows.
        """
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
                own = order[start : start + self.batch_rows]
                yield positions[own], rows[own]
            skip = 0

    def _batches_of(self, pieces):
        """Puts pieces of at most B rows together to batches of B; the last may be smaller."""
        held = []
        for positions, rows in pieces:
            self._reader.check_stop()
            room = self.batch_rows - sum(len(own) for own, _ in held)
            held.append((positions[:room], rows[:room]))
            if len(positions) >= room:
                yield _join(held)
                held = [(positions[room:], rows[room:])]
        if sum(len(own) for own, _ in held):
            yield _join(held)


def _join(pieces):
    positions = np.concatenate([positions for positions, _ in pieces])
    rows = np.concatenate([rows for _, rows in pieces])
    order = np.argsort(positions)
    return positions[order], as_float32(rows[order])


def _one_ahead(iterable):
    """Yields the items while a thread is already reading the next one."""
    iterator, end = iter(iterable), object()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, iterator, end)
        while (item := waiting.result()) is not end:
            waiting = pool.submit(next, iterator, end)
            yield item

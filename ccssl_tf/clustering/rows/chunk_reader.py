"""Rows of a source pass after pass in chunks of one size, kept in memory if they fit there."""

import collections
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import tensorflow as tf

from ccssl_tf import distribution
from ccssl_tf.clustering.rows.part_source import PartSource
from ccssl_tf.clustering.rows.row_copies import as_float32
from ccssl_tf.data.feature_source import FeatureSource
from ccssl_tf.runs.errors import InputError, Interrupted


class ChunkReader:
    """Reads a source in chunks.

    Attributes:
      source: `FeatureSource` of the rows.
      memory_bytes: int, bytes of memory that rows may take.
      bytes_read: int, bytes that the latest pass read from the source; 0 if the rows were kept.
    """

    def __init__(
        self,
        source: FeatureSource,
        rows: int,
        memory_bytes: int,
        should_stop: Callable[[], bool] | None = None,
    ):
        """Sets up the reading.

        Args:
          source: of the rows.
          rows: number of rows of a chunk; the last one may have fewer.
          memory_bytes: the rows are read once and kept if they have no more bytes than this.
          should_stop: asked before each chunk; True ends the reading with Interrupted.
        """
        self.source, self.memory_bytes = source, memory_bytes
        self._rows, self._should_stop = rows, should_stop
        self._keep = not source.in_memory and source.num_bytes <= memory_bytes
        self._keep_float32 = fits_as_float32(source, memory_bytes)
        self._kept: list[np.ndarray] | None = None
        self.bytes_read = 0

    def of_source(
        self, source: FeatureSource, memory_bytes: int | None = None, rows: int | None = None
    ) -> "ChunkReader":
        """Returns a reader of another source that is like this one in all that is not given."""
        return ChunkReader(
            source,
            rows or self._rows,
            self.memory_bytes if memory_bytes is None else memory_bytes,
            self._should_stop,
        )

    @property
    def keeps(self) -> bool:
        """Whether the rows are in memory, or will be after the first pass."""
        return self.source.in_memory or self._keep

    def load(self) -> None:
        """Reads the rows that are to be kept in memory, unless that has been done."""
        if self._keep and self._kept is None:
            collections.deque(self, maxlen=0)

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (position of the first row, rows [n, D]) of every chunk."""
        start = 0
        kept: list[np.ndarray] = []
        self.bytes_read = 0 if self._kept else self.source.bytes_per_pass
        for chunk in self._interruptible(self._kept or self.source.chunks(self._rows)):
            if self._keep and self._kept is None:
                kept.append(as_float32(chunk) if self._keep_float32 else chunk)
            yield start, chunk
            start += len(chunk)
        if self._keep and self._kept is None:
            self._kept = kept

    def from_row(self, first: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yields what iterating does, without the rows before number `first`."""
        if not first or self.keeps:
            for start, chunk in self:
                if start + len(chunk) > first:
                    yield max(start, first), chunk[max(first - start, 0) :]
        elif first < self.source.num_examples:
            rest = self.of_source(
                PartSource(self.source, slice(first, self.source.num_examples)), memory_bytes=0
            )
            yield from ((first + start, chunk) for start, chunk in rest)
            self.bytes_read = rest.bytes_read

    def take(self, positions: np.ndarray) -> np.ndarray:
        """Returns the rows at `positions` [n] int, ascending: [n, D] float32."""
        blocks: Iterable[np.ndarray]
        if self._kept:
            blocks, places = self._kept, positions
        else:
            blocks, places = self.source.blocks_holding(positions)
        taken, start, done = np.empty([len(places), self.source.dim], np.float32), 0, 0
        for block in self._interruptible(blocks):
            stop = int(np.searchsorted(places, start + len(block)))
            as_float32(block[places[done:stop] - start], taken[done:stop])
            start, done = start + len(block), stop
            if done == len(places):
                return taken
        raise InputError(
            f"features: row {positions[done]} is missing; every pass must give the same rows"
        )

    def _interruptible(self, chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for chunk in chunks:
            self.check_stop()
            yield chunk

    def check_stop(self) -> None:
        """Raises Interrupted if `should_stop` says so."""
        if self._should_stop and self._should_stop():
            raise Interrupted("interrupted; the same command continues with the pass it was in")


def fits_as_float32(source: FeatureSource, memory_bytes: int) -> bool:
    """Returns whether float16 rows are kept as float32, which are not converted on every pass."""
    return source.dtype == np.float16 and 4 * source.num_examples * source.dim <= memory_bytes


def reader_of_worker(reader: ChunkReader, strategy: tf.distribute.Strategy) -> ChunkReader:
    """Returns the reader of this worker's part of the rows; where it is the only one, `reader`."""
    workers, count = distribution.worker(strategy)[1], reader.source.num_examples
    if workers == 1:
        return reader
    if count < workers:
        raise InputError(f"{count} rows for {workers} workers: use fewer")
    return reader.of_source(PartSource(reader.source, distribution.part_of_worker(count, strategy)))

"""Rows on the devices of a strategy's replicas: kept there, or dealt out to them on each pass."""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ccssl_tf import distribution
from ccssl_tf.clustering.device.nearest import chunk_rows
from ccssl_tf.clustering.device.replicas import device_variable, on_each
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader, fits_as_float32
from ccssl_tf.data.feature_source import naming_faults


class RowShare(NamedTuple):
    """The rows that one replica keeps: of every L chunks of a worker's part, one.

    Attributes:
      rows: variable [n, D] float16 or float32. Rows are gathered from it: to read the variable
        itself would copy all of them.
      count: n, int64.
      first: int, position of the first row of the worker's part among all rows.
      place: int, which of the L chunks, in [0, L).
      places: int, L, number of replicas of this worker.
      chunk_rows: int, number of rows of a chunk.
    """

    rows: tf.Variable
    count: tf.Tensor
    first: int
    place: int
    places: int
    chunk_rows: int

    def chunk(self, number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns chunk `number`, int64, of those kept here, which may be empty at the end.

        Returns:
          Where it starts in the worker's part, int64, and rows [n, D].
        """
        at = number * self.chunk_rows
        start = (number * self.places + self.place) * self.chunk_rows
        end = tf.minimum(at + self.chunk_rows, self.count)
        return start, tf.gather(self.rows, tf.range(tf.minimum(at, end), end))

    def of(self, positions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the rows at those of `positions` [b] int64 that are kept here.

        Returns:
          Which of the positions these are, [n] int64, and rows [n, D].
        """
        local = positions - self.first
        chunk = local // self.chunk_rows
        at = chunk // self.places * self.chunk_rows + local % self.chunk_rows
        is_here = (local >= 0) & (chunk % self.places == self.place)
        slots = tf.where(is_here & (at < self.count))[:, 0]
        return slots, tf.gather(self.rows, tf.gather(at, slots))


class DeviceRows:
    """The rows of a source, or a worker's part of them, for the replicas of this process.

    Attributes:
      reader: of the rows; it keeps none, because the devices do.
      keeps: bool, whether the devices keep the rows: all of them fit the reader's memory.
      chunk_rows: int, number of rows that a replica works on together.
      chunks_each: int, number of chunks of every replica in a pass, at most.
    """

    def __init__(
        self,
        reader: ChunkReader,
        strategy: tf.distribute.Strategy,
        num_clusters: int,
        first: int = 0,
    ):
        """Args: reader: of the rows; strategy; num_clusters: K; first: see `RowShare`."""
        source = reader.source
        self._strategy, self._first = strategy, first
        self._num_replicas = distribution.local_replicas(strategy)
        self.keeps = source.num_bytes <= reader.memory_bytes
        is_half = source.dtype == np.float16
        converts = not tf.config.list_logical_devices("GPU") and fits_as_float32(
            source, reader.memory_bytes
        )
        self._dtype = tf.float16 if is_half and not converts else tf.float32
        self.chunk_rows = chunk_rows(num_clusters, source.dim)
        num_chunks = -(-source.num_examples // self.chunk_rows)
        self.chunks_each = -(-num_chunks // self._num_replicas)
        self.reader = reader.of_source(source, memory_bytes=0, rows=self.chunk_rows)
        self._shares: list[RowShare] = []

    @property
    def is_loaded(self) -> bool:
        """Whether the devices have the rows already."""
        return bool(self._shares)

    def shares(self) -> list[RowShare]:
        """Returns the share of each replica of this process; the first call reads the rows."""
        if not self._shares:
            shares = on_each(self._strategy, self._empty_share)
            count = 0
            for number, (start, chunk) in enumerate(self.reader):
                count = start + len(chunk)
                if count > self.reader.source.num_examples:
                    break
                at = number // len(shares) * self.chunk_rows
                rows = shares[number % len(shares)].rows
                values = tf.constant(chunk.astype(self._dtype.as_numpy_dtype, copy=False))
                rows.scatter_update(tf.IndexedSlices(values, tf.range(at, at + len(chunk))))
            if count != self.reader.source.num_examples:
                raise self.reader.source.other_count(count)
            self._shares = shares
        return self._shares

    def _empty_share(self, place: int) -> RowShare:
        source, places = self.reader.source, self._num_replicas
        starts = range(0, source.num_examples, self.chunk_rows)[place::places]
        count = sum(min(self.chunk_rows, source.num_examples - start) for start in starts)
        rows = device_variable(
            tf.zeros([count, source.dim], self._dtype), self._dtype, [None, source.dim]
        )
        return RowShare(
            rows, tf.constant(count, tf.int64), self._first, place, places, self.chunk_rows
        )

    @contextlib.contextmanager
    def dealt_chunks(self) -> Iterator[Iterator]:
        """Returns the context of a pass that reads the rows.

        Its value is an iterator for `tf.function`: of (start of a chunk in the worker's part,
        int64; its rows [n, D]) for every replica; at the end some replicas may get empty chunks.
        """
        size, faults = self.chunk_rows, list[Exception]()
        missing = -(-self.reader.source.num_examples // size) % -self._num_replicas
        chunks = self.reader.source.dataset(size, faults).map(as_device_type)
        numbered = chunks.enumerate().map(lambda number, rows: (number * size, rows))
        empty = numbered.take(1).repeat(-missing).map(lambda start, rows: (start, rows[:0]))
        with naming_faults(self.reader.source, faults):
            yield iter(deal(numbered.concatenate(empty), self._strategy))


def as_device_type(rows: tf.Tensor) -> tf.Tensor:
    """Returns rows of any type as float16, if they are that, or float32."""
    return rows if rows.dtype == tf.float16 else tf.cast(rows, tf.float32)


def deal(dataset: tf.data.Dataset, strategy: tf.distribute.Strategy):
    """Returns the elements of a dataset dealt out to the replicas of this process in turn.

    Args:
      dataset: as many elements as are asked for, or more.
      strategy: of the replicas.
    """
    dataset = dataset.prefetch(2 * distribution.local_replicas(strategy))
    if strategy.num_replicas_in_sync == 1:
        return dataset
    # Loops ask for as many elements as there are; so replicas need not agree on the end at every
    # step, which they would do of a dataset that is known to end.
    endless = dataset.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
    return strategy.distribute_datasets_from_function(lambda _: endless)

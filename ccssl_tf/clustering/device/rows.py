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
      rows: variable [n, D] float16 or float32. It is assigned and read as a whole: of a variable
        that is changed or gathered in parts TensorFlow makes a copy whenever it is read.
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
        return start, self.rows[tf.minimum(at, end) : end]

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
        return slots, tf.gather(self.rows.value(), tf.gather(at, slots))


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
            devices = distribution.replica_devices(self._strategy)
            chunks: list[list[tf.Tensor]] = [[] for _ in devices]
            source, count = self.reader.source, 0
            # An array for one device is copied there as it is.
            is_whole = source.in_memory and len(devices) == 1
            reader = self.reader.of_source(source, rows=source.num_examples if is_whole else None)
            for number, (start, chunk) in enumerate(reader):
                count = start + len(chunk)
                if count > source.num_examples:
                    break
                place = number % len(devices)
                with tf.device(devices[place]):
                    values = chunk.astype(self._dtype.as_numpy_dtype, copy=False)
                    chunks[place].append(tf.constant(values))
            if count != source.num_examples:
                raise source.other_count(count)
            joined = [self._joined(*parts) for parts in zip(chunks, devices, strict=True)]
            self._shares = on_each(self._strategy, lambda place: self._share(place, joined[place]))
        return self._shares

    def _joined(self, chunks: list[tf.Tensor], device: str | None) -> tf.Tensor:
        """Returns the rows of chunks, which are forgotten, on their device."""
        if len(chunks) == 1:
            return chunks.pop()
        with tf.device(device):
            nothing = tf.zeros([0, self.reader.source.dim], self._dtype)
            rows = tf.concat([*chunks, nothing], axis=0)
        chunks.clear()
        return rows

    def _share(self, place: int, rows: tf.Tensor) -> RowShare:
        return RowShare(
            device_variable(rows, self._dtype, [None, self.reader.source.dim]),
            tf.constant(len(rows), tf.int64),
            self._first,
            place,
            self._num_replicas,
            self.chunk_rows,
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

"""Passes of Lloyd's k-means on the replicas of one process: devices of a MirroredStrategy, a GPU.

Every replica has its chunks of the rows and computes all distances of these. Rows that fit the
memory stay on the devices; labels, distances and sums stay there until the end of a pass.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ccssl_tf import distribution
from ccssl_tf.clustering.assignment import Assignment, Begun, OnRows, PassResult
from ccssl_tf.clustering.device.cluster_sums import move_rows
from ccssl_tf.clustering.device.nearest import (
    Centroids,
    nearest_centroids,
    nearest_others,
    shifted_centroids,
)
from ccssl_tf.clustering.device.replicas import Run, compiled, device_variable, on_each
from ccssl_tf.clustering.device.rows import DeviceRows, RowShare
from ccssl_tf.clustering.host import distances
from ccssl_tf.clustering.host.measuring import check_finite
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader

# A pass is made in so many parts, at most: between two of them the process waits for the devices,
# and may be told to stop.
_PARTS = 64


class DeviceAssignment(Assignment):
    """Computes every distance on the replicas of this process."""

    def __init__(
        self,
        reader: ChunkReader,
        labels: np.ndarray,
        sums: np.ndarray,
        *,
        strategy: tf.distribute.Strategy,
    ):
        """See `MakeAssignment`; strategy: of the replicas."""
        self._rows = DeviceRows(reader, strategy, len(sums))
        self._labels, self._sums, self._is_first = labels, sums.copy(), True
        self._passes = _Passes(self._rows, labels, sums.shape, strategy, adds=True)

    def step(
        self, centroids: np.ndarray, begun: Begun | None = None, on_rows: OnRows | None = None
    ) -> PassResult:
        """See `Assignment`; a pass that was interrupted starts anew, with the same result.

        Args:
          centroids: [K, D] float32.
          begun, on_rows: not used.
        """
        source = self._rows.reader.source
        bytes_read = 0 if self._rows.is_loaded else source.bytes_per_pass
        labels, squares = self._passes.run(centroids, self._sums)
        moved = labels != self._labels
        changed = np.union1d(labels[moved], self._labels[moved])
        if self._is_first:
            changed = np.arange(len(centroids))
        self._labels, self._is_first = labels, False
        return PassResult(
            labels=labels,
            squares=squares,
            sums=self._sums,
            counts=np.bincount(labels, source.weights, minlength=len(centroids)),
            changed=changed,
            distances=labels.size * len(centroids),
            bytes_read=bytes_read,
        )


def nearest(
    rows: DeviceRows, centroids: np.ndarray, strategy: tf.distribute.Strategy
) -> tuple[np.ndarray, np.ndarray]:
    """Makes one pass that only assigns the rows.

    Args:
      rows: of this process.
      centroids: [K, D] float32.
      strategy: of the replicas.

    Returns:
      labels [N] int32, squared distances [N] float32.
    """
    labels = np.full(rows.reader.source.num_examples, -1, np.int32)
    return _Passes(rows, labels, centroids.shape, strategy, adds=False).run(centroids, None)


def nearest_beside(
    rows: DeviceRows,
    centroids: np.ndarray,
    labels: np.ndarray,
    count: int,
    strategy: tf.distribute.Strategy,
) -> tuple[np.ndarray, np.ndarray]:
    """Makes one pass that finds the centroids nearest to each row beside that of its label.

    Args:
      rows: of this process.
      centroids: [K, D] float32, more than `count`.
      labels: [N] int32.
      count: number of centroids a row, m.
      strategy: of the replicas.

    Returns:
      [N, m] int32, nearest first, and squared distances [N, m] float32.
    """
    labels = np.repeat(labels[:, None], count, axis=1)
    passes = _Passes(rows, labels, centroids.shape, strategy, adds=False)
    return passes.run(centroids, None)


class _Passes:
    """Passes over rows on the devices."""

    def __init__(
        self,
        rows: DeviceRows,
        labels: np.ndarray,
        shape: tuple[int, ...],
        strategy: tf.distribute.Strategy,
        *,
        adds: bool,
    ):
        """Sets up the passes.

        Args:
          rows: of this process.
          labels: [N] int32, of the pass before; -1: none. [N, m]: of each row the m nearest
            centroids are found beside the label, which all its columns are.
          shape: [K, D].
          strategy: of the replicas.
          adds: whether sums follow the rows.
        """
        self._rows, self._strategy = rows, strategy
        self._devices = distribution.replica_devices(strategy)
        weights = rows.reader.source.weights
        self._replicas = on_each(
            strategy,
            lambda _: _Replica.start(labels, shape, weights if adds else None, adds),
        )

    def run(self, centroids: np.ndarray, sums: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Makes a pass.

        Args:
          centroids: [K, D] float32.
          sums: [K, D] float64 of the rows by the labels of the pass before; those by the labels of
            this pass are written there. None: nothing is added.

        Returns:
          labels [N] or [N, m] int32, squared distances of the same shape, float32.
        """
        source, shift = self._rows.reader.source, distances.needed_shift(centroids)
        for replica, device in zip(self._replicas, self._devices, strict=True):
            with tf.device(device):
                replica.begin(centroids, shift)
                if sums is not None:
                    # The first replica goes on from the sums of all.
                    is_first = replica is self._replicas[0]
                    replica.sums.assign(sums if is_first else tf.zeros(sums.shape, tf.float64))
        replicas = self._replicas
        if not shift.any():
            replicas = [
                replica._replace(centroids=replica.centroids._replace(shift=None))
                for replica in replicas
            ]
        parts = _parts(self._rows.chunks_each)
        if self._rows.keeps:
            shares = self._rows.shares()
            assign_kept = compiled(_assign_kept, self._strategy, replicas, shares)
            for first, last in parts:
                assign_kept(tf.constant(first, tf.int64), tf.constant(last, tf.int64))
                self._wait()
        else:
            assign_dealt = compiled(_assign_dealt, self._strategy, replicas)
            with self._rows.dealt_chunks() as chunks:
                for first, last in parts:
                    assign_dealt(chunks, tf.constant(last - first, tf.int64))
                    self._wait()
        count = sum(int(replica.num_rows.numpy()) for replica in self._replicas)
        if count != source.num_examples:
            raise source.other_count(count)
        labels = self._joined([replica.labels.numpy() for replica in self._replicas])
        squares = self._joined([replica.squares.numpy() for replica in self._replicas])
        # A row that is not finite has no finite distance.
        check_finite(source, squares.reshape(len(squares), -1)[:, 0], 0)
        if sums is not None:
            np.copyto(sums, self._replicas[0].sums.numpy())
            for replica in self._replicas[1:]:
                sums += replica.sums.numpy()
        return labels.astype(np.int32), squares

    def _wait(self) -> None:
        """Waits for the devices."""
        for replica in self._replicas:
            replica.num_rows.numpy()
        self._rows.reader.check_stop()

    def _joined(self, values: list[np.ndarray]) -> np.ndarray:
        """Returns of every row what the replica has that its chunk was dealt to."""
        joined, size = values[0], self._rows.chunk_rows
        for start in range(0, len(joined), size):
            part = slice(start, start + size)
            joined[part] = values[start // size % len(values)][part]
        return joined


class _Replica(NamedTuple):
    """What a pass has computed on the device of one replica.

    Attributes:
      labels: variable [N] or [N, m] int64, of this pass for the rows of its chunks that are done.
      squares: variable of the same shape, float32, their squared distances.
      sums: variable [K, D] float64. The sums of all replicas add up to those of all rows.
      num_rows: variable, int64, number of rows that are done.
      centroids: `Centroids` of variables.
      weights: [N] float64, of the rows; None: 1 each.
      adds: bool, whether sums follow the rows.
    """

    labels: tf.Variable
    squares: tf.Variable
    sums: tf.Variable
    num_rows: tf.Variable
    centroids: Centroids
    weights: tf.Tensor | None
    adds: bool

    @classmethod
    def start(
        cls,
        labels: np.ndarray,
        shape: tuple[int, ...],
        weights: np.ndarray | None,
        adds: bool,
    ) -> "_Replica":
        """Returns a replica before its first pass; shape: [K, D]. Without sums they are [0, D]."""
        num_clusters, dim = shape
        sizes = (shape, [dim], shape, [num_clusters])
        return cls(
            device_variable(labels, tf.int64, [None, *labels.shape[1:]]),
            device_variable(np.zeros(labels.shape), tf.float32, [None, *labels.shape[1:]]),
            device_variable(np.zeros([num_clusters if adds else 0, dim]), tf.float64),
            device_variable(0, tf.int64),
            Centroids(*(device_variable(np.zeros(size), tf.float32) for size in sizes)),
            None if weights is None else tf.constant(weights, tf.float64),
            adds,
        )

    def begin(self, centroids: np.ndarray, shift: np.ndarray) -> None:
        """Begins a pass with centroids [K, D] and shift [D]."""
        values, scaled = tf.constant(centroids), shifted_centroids(tf.constant(centroids), shift)
        for variable, value in zip(self.centroids, (values, shift, *scaled), strict=True):
            variable.assign(value)
        self.num_rows.assign(0)

    def assign(self, start: tf.Tensor, rows: tf.Tensor) -> None:
        """Assigns rows [n, D]; start: position of the first, int64."""
        count = tf.shape(rows, tf.int64)[0]
        positions = start + tf.range(count)
        if self.labels.shape.rank == 1:
            labels, squares = nearest_centroids(rows, self.centroids)
        else:
            before = tf.gather(self.labels, positions)[:, 0]
            labels, squares = nearest_others(rows, self.centroids, before, self.labels.shape[1])
        if self.adds:
            self._move(positions, rows, labels)
        self.labels.scatter_update(tf.IndexedSlices(labels, positions))
        self.squares.scatter_update(tf.IndexedSlices(squares, positions))
        self.num_rows.assign_add(count)

    def _move(self, positions: tf.Tensor, rows: tf.Tensor, labels: tf.Tensor) -> None:
        """Lets the sums follow the rows to their labels of this pass."""
        weights = None if self.weights is None else tf.gather(self.weights, positions)
        move_rows(self.sums, rows, tf.gather(self.labels, positions), labels, weights)


def _assign_kept(
    run: Run, replica: _Replica, share: RowShare, first: tf.Tensor, last: tf.Tensor
) -> None:
    """Assigns the rows of chunks [first, last) of those that every replica keeps."""

    def assign(number: tf.Tensor) -> list[tf.Tensor]:
        run(lambda replica, share: replica.assign(*share.chunk(number)), replica, share)
        return [number + 1]

    tf.while_loop(lambda number: number < last, assign, [first])


def _assign_dealt(run: Run, replica: _Replica, chunks: Iterator, count: tf.Tensor) -> None:
    """Assigns the rows of the next `count` chunks that every replica is dealt."""

    def assign(number: tf.Tensor) -> list[tf.Tensor]:
        run(lambda replica, chunk: replica.assign(*chunk), replica, next(chunks))
        return [number + 1]

    tf.while_loop(lambda number: number < count, assign, [tf.constant(0, tf.int64)])


def _parts(count: int) -> list[tuple[int, int]]:
    """Returns [first, last) of the parts into which `count` chunks of a pass are divided."""
    size = max(math.ceil(count / _PARTS), 1)
    return [(first, min(first + size, count)) for first in range(0, count, size)]

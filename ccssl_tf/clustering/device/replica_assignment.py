"""A pass of k-means on the replicas of one process: devices of a MirroredStrategy, or one GPU.

Chunks of rows are dealt out to the replicas in turn, and these compute every distance. Sums are
added in one fixed order, in float64.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf

from ccssl_tf import distribution
from ccssl_tf.clustering.assignment import Assignment, Begun, OnRows, PassResult
from ccssl_tf.clustering.device import distances as device_distances
from ccssl_tf.clustering.host import distances
from ccssl_tf.clustering.host.measuring import check_finite
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader

# Bytes that a chunk takes on a device: its rows in float32 and float64, and their scores.
_CHUNK_BYTES = 256 << 20
_MIN_CHUNK_ROWS, _MAX_CHUNK_ROWS = 16, 8192

# Positions of the first rows of some chunks, and a chunk for each replica: more chunks than
# positions at the end of a pass, where the other chunks are empty.
_Group = tuple[list[int], list[np.ndarray]]


class ReplicaAssignment(Assignment):
    """Computes every distance on the replicas of this process.

    Features that fit the memory are read once and stay on the replicas' devices.
    """

    def __init__(
        self,
        reader: ChunkReader,
        labels: np.ndarray,
        sums: np.ndarray,
        *,
        strategy: tf.distribute.Strategy,
    ):
        """See `MakeAssignment`; every pass starts anew, so only the shape of the sums is used."""
        del labels
        self._strategy = strategy
        self._kept: list[tuple[list[int], tf.Tensor]] | None = None
        self._keeps = reader.source.num_bytes <= reader.memory_bytes
        # This reader keeps nothing, because the devices do.
        self._reader = reader.of_source(
            reader.source, memory_bytes=0, rows=_chunk_rows(*sums.shape)
        )
        self._assign = tf.function(
            lambda *args: strategy.run(_assign_and_add, args=args),
            reduce_retracing=True,
            autograph=False,
        )

    def step(
        self, centroids: np.ndarray, begun: Begun | None = None, on_rows: OnRows | None = None
    ) -> PassResult:
        """See `Assignment`; a pass that was interrupted starts anew, with the same result.

        Args:
          centroids: [K, D] float32.
          begun, on_rows: not used.
        """
        source = self._reader.source
        labels = np.empty(source.num_examples, np.int32)
        squares = np.empty(source.num_examples, np.float32)
        bytes_read = 0 if self._kept else source.bytes_per_pass
        shift = distances.common_shift(centroids)
        scaled, norms = distances.shift_centroids(centroids, shift, distances.square_norms64)
        everywhere = [self._on_each(value) for value in (centroids, shift, scaled, norms)]
        sums = self._on_each(np.zeros(centroids.shape))
        for starts, rows in self._groups():
            chunk_labels, chunk_squares, sums = self._assign(rows, *everywhere, sums)
            for start, replica_labels, replica_squares in zip(
                starts, self._results(chunk_labels), self._results(chunk_squares), strict=False
            ):
                part = slice(start, start + len(replica_labels))
                labels[part], squares[part] = replica_labels, replica_squares
                check_finite(source, squares[part], start)
        counts = np.bincount(labels, minlength=len(centroids))
        return PassResult(
            labels=labels,
            squares=squares,
            sums=np.add.reduce(self._results(sums)),
            counts=counts,
            changed=np.arange(len(counts)),
            distances=labels.size * len(counts),
            bytes_read=bytes_read,
        )

    def _groups(self) -> Iterator[tuple[list[int], tf.Tensor]]:
        """Yields a chunk for each replica, on its device, and the positions of their first rows."""
        if self._kept:
            for group in self._kept:
                self._reader.check_stop()
                yield group
            return
        groups, end = [], 0
        for starts, chunks in _grouped(self._reader, distribution.local_replicas(self._strategy)):
            end = starts[-1] + len(chunks[len(starts) - 1])
            if end > self._reader.source.num_examples:
                break
            group = starts, self._on_each(*chunks)
            groups += [group] if self._keeps else []
            yield group
        if end != self._reader.source.num_examples:
            raise self._reader.source.other_count(end)
        self._kept = groups

    def _on_each(self, *values: np.ndarray) -> tf.Tensor:
        """Returns the one value, or a value for each, on the replicas' devices."""
        devices = distribution.replica_devices(self._strategy)
        values = values * len(devices) if len(values) == 1 else values
        placed = []
        for value, device in zip(values, devices, strict=True):
            with tf.device(device):
                placed.append(tf.identity(tf.constant(value)))
        return distribution.to_replicas(placed, self._strategy)

    def _results(self, values: tf.Tensor) -> list[np.ndarray]:
        """Returns the value of every replica."""
        return [part.numpy() for part in self._strategy.experimental_local_results(values)]


def _chunk_rows(num_clusters: int, dim: int) -> int:
    """Returns how many rows a replica works on together."""
    rows = _CHUNK_BYTES // (4 * num_clusters + 20 * dim)
    return int(np.clip(rows, _MIN_CHUNK_ROWS, _MAX_CHUNK_ROWS))


def _grouped(reader: Iterable[tuple[int, np.ndarray]], size: int) -> Iterator[_Group]:
    """Yields groups of `size` chunks; the last has empty ones in place of those that are missing.

    Rows are left in float16, or are float32.
    """
    starts: list[int] = []
    chunks: list[np.ndarray] = []
    for start, chunk in reader:
        chunk = chunk if chunk.dtype == np.float16 else chunk.astype(np.float32, copy=False)
        starts, chunks = [*starts, start], [*chunks, chunk]
        if len(chunks) == size:
            yield starts, chunks
            starts, chunks = [], []
    if chunks:
        yield starts, chunks + [chunks[0][:0]] * (size - len(chunks))


def _assign_and_add(
    rows: tf.Tensor,
    centroids: tf.Tensor,
    shift: tf.Tensor,
    scaled: tf.Tensor,
    norms: tf.Tensor,
    sums: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Assigns the rows of a chunk; all but `sums` is as in `nearest_centroids`.

    Returns:
      labels [n] int32, squared distances [n] float32, and `sums` [K, D] float64 with the rows added
      to those of their labels.
    """
    rows = tf.cast(rows, tf.float32)
    labels, squares = device_distances.nearest_centroids(rows, centroids, shift, scaled, norms)
    added = tf.math.unsorted_segment_sum(tf.cast(rows, tf.float64), labels, tf.shape(sums)[0])
    return labels, squares, sums + added

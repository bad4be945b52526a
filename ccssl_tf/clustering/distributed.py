"""K-means on the replicas of a tf.distribute strategy: each has its share of the rows, and sums are
added in one fixed order.

Within a process (MirroredStrategy) chunks of rows are dealt out to the replicas in turn, every
distance is computed. Between processes (MultiWorkerMirroredStrategy) each one has a contiguous part
of the rows and assigns it in any of these ways; sums are all-reduced in float64, labels and
distances gathered, so that after a pass all processes hold the same, and go on alike, to re-seeding
and stopping.
"""

import functools

import numpy as np
import tensorflow as tf

from ccssl_tf import distribution
from ccssl_tf.clustering import assignment
from ccssl_tf.clustering.assignment import Assignment
from ccssl_tf.clustering.sources import PartSource
from ccssl_tf.runs.errors import InputError

_CHUNK_BYTES = 256 << 20
_MAX_CHUNK_ROWS = 8192


def make_assignment(kind, reader, labels, sums, strategy):
    """Returns `kind(reader, labels, sums)`, or what does its work on several replicas (see
    `assignment` for the contract).
    """
    if _on_replicas(strategy):
        kind = functools.partial(ReplicaAssignment, strategy=strategy)
    if distribution.worker(strategy)[1] > 1:
        return WorkerAssignment(reader, labels, sums, kind=kind, strategy=strategy)
    return kind(reader, labels, sums)


def nearest(reader, centroids: np.ndarray, strategy) -> tuple[np.ndarray, np.ndarray]:
    """Returns labels [N] int32 and squared distances [N] float32 as `assignment.nearest`, each
    worker computing its part.
    """
    reader = reader_of_worker(reader, strategy)
    if _on_replicas(strategy):
        pass_ = ReplicaAssignment(reader, None, centroids, strategy=strategy).step(centroids)
        found = pass_.labels, pass_.squares
    else:
        found = assignment.nearest(reader, centroids)
    return tuple(distribution.concatenate_over_workers(values, strategy) for values in found)


def _on_replicas(strategy):
    """Whether the devices compute every distance: what skips some works on CPUs, and a GPU has
    computed them all by then.
    """
    return distribution.local_replicas(strategy) > 1 or bool(tf.config.list_logical_devices("GPU"))


def reader_of_worker(reader, strategy):
    """Returns the reader of this worker's part of the rows: `reader` itself where there is one
    worker.
    """
    workers, count = distribution.worker(strategy)[1], reader.source.num_examples
    if workers == 1:
        return reader
    if count < workers:
        raise InputError(f"{count} rows for {workers} workers: use fewer")
    return reader.of_source(PartSource(reader.source, distribution.part_of_worker(count, strategy)))


class WorkerAssignment:
    """Assigns this worker's rows by another `kind` of assignment, and adds up what all workers
    found.
    """

    def __init__(self, reader, labels, sums, *, kind, strategy):
        """Args: reader, labels, sums: of all rows; kind: called with those of this
        worker's part.
        """
        self._strategy, self._chief = strategy, distribution.is_chief(strategy)
        own = distribution.part_of_worker(len(labels), strategy)
        self._inner = kind(
            reader_of_worker(reader, strategy),
            labels[own],
            sums if self._chief else np.zeros_like(sums),
        )

    def step(self, centroids: np.ndarray, begun=None, on_rows=None) -> Assignment:
        """Args: centroids: [K, D] float32, the same on all workers; begun, on_rows: not used, a
        pass is continued from its start.
        """
        own = self._inner.step(centroids)
        sums = distribution.sum_over_workers(own.sums, self._strategy)
        # A pass may go on from the sums it returned before: let one worker hold all of them, as
        # after a restart.
        own.sums[...] = sums if self._chief else 0
        labels, squares = (
            distribution.concatenate_over_workers(values, self._strategy)
            for values in (own.labels, own.squares)
        )
        changed = np.zeros(len(centroids), np.int32)
        changed[own.changed] = 1
        changed = distribution.sum_over_workers(changed, self._strategy)
        computed, read = distribution.sum_over_workers(
            np.array([own.distances, own.bytes_read], np.float64), self._strategy
        )
        counts = np.bincount(labels, minlength=len(centroids))
        return Assignment(
            labels, squares, sums, counts, np.flatnonzero(changed), int(computed), int(read)
        )


class ReplicaAssignment:
    """Computes every distance on the replicas of this process; features that fit the memory stay on
    their devices.
    """

    def __init__(self, reader, labels, sums, *, strategy):
        """Args: reader: ChunkReader; labels: not used, every pass starts anew; sums: [K, D], whose
        shape alone is.
        """
        del labels
        self._strategy, self._kept = strategy, None
        self._keeps = reader.source.num_bytes <= reader.memory_bytes
        # Kept by the devices, not also by the reader.
        self._reader = reader.of_source(
            reader.source, memory_bytes=0, rows=_chunk_rows(*sums.shape)
        )
        self._assign = tf.function(
            lambda *args: strategy.run(_assign_and_add, args=args),
            reduce_retracing=True,
            autograph=False,
        )

    def step(self, centroids: np.ndarray, begun=None, on_rows=None) -> Assignment:
        """Args: centroids: [K, D] float32; begun, on_rows: not used, a pass is continued from its
        start.
        """
        source = self._reader.source
        labels, squares = (
            np.empty(source.num_examples, np.int32),
            np.empty(source.num_examples, np.float32),
        )
        bytes_read = 0 if self._kept else source.bytes_per_pass
        shift = centroids.mean(axis=0, dtype=np.float64).astype(np.float32)
        norms = np.square(centroids - shift, dtype=np.float64).sum(axis=1).astype(np.float32)
        everywhere = [self._on_each(value) for value in (centroids, shift, norms)]
        sums = self._on_each(np.zeros(centroids.shape))
        for starts, rows in self._groups():
            chunk_labels, chunk_squares, sums = self._assign(rows, *everywhere, sums)
            for start, ours, theirs in zip(
                starts,
                *map(self._strategy.experimental_local_results, (chunk_labels, chunk_squares)),
                strict=False,
            ):
                labels[start : start + len(ours)], squares[start : start + len(ours)] = (
                    ours.numpy(),
                    theirs.numpy(),
                )
                assignment.check_finite(self._reader, squares, start, start + len(ours))
        total = np.add.reduce(
            [part.numpy() for part in self._strategy.experimental_local_results(sums)]
        )
        counts = np.bincount(labels, minlength=len(centroids))
        return Assignment(
            labels,
            squares,
            total,
            counts,
            np.arange(len(counts)),
            labels.size * len(counts),
            bytes_read,
        )

    def _groups(self):
        """Yields (positions of the first rows, a chunk for each replica); the last chunks may be
        empty.
        """
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
            raise InputError(
                f"features: a pass gave {end} rows or more instead of "
                f"{self._reader.source.num_examples}; they must be the same"
            )
        self._kept = groups

    def _on_each(self, *values):
        """Returns the one value, or a value for each, on the replicas' devices."""
        devices = distribution.replica_devices(self._strategy)
        values = values * len(devices) if len(values) == 1 else values
        placed = []
        for value, device in zip(values, devices, strict=True):
            with tf.device(device):
                placed.append(tf.identity(tf.constant(value)))
        return distribution.to_replicas(placed, self._strategy)


def _chunk_rows(num_clusters, dim):
    """Returns how many rows a replica works on together: in float32 and float64, with their scores,
    they take about 256 MB.
    """
    return int(np.clip(_CHUNK_BYTES // (4 * num_clusters + 20 * dim), 16, _MAX_CHUNK_ROWS))


def _grouped(reader, size):
    """Yields (starts, chunks) of `size` chunks; at the end fewer starts, and empty chunks in place
    of the missing.
    """
    starts, chunks = [], []
    for start, chunk in reader:
        chunk = chunk if chunk.dtype == np.float16 else chunk.astype(np.float32, copy=False)
        starts, chunks = [*starts, start], [*chunks, chunk]
        if len(chunks) == size:
            yield starts, chunks
            starts, chunks = [], []
    if chunks:
        yield starts, chunks + [chunks[0][:0]] * (size - len(chunks))


def _assign_and_add(rows, centroids, shift, norms, sums):
    """Returns labels [n] int32, squared distances [n] float32 and `sums` [K, D] float64 with the
    rows [n, D] added.
    """
    rows = tf.cast(rows, tf.float32)
    scores = norms - 2 * tf.matmul(rows - shift, centroids - shift, transpose_b=True)
    labels = tf.argmin(scores, axis=-1, output_type=tf.int32)
    squares = tf.reduce_sum(tf.math.squared_difference(rows, tf.gather(centroids, labels)), axis=-1)
    return (
        labels,
        squares,
        sums + tf.math.unsorted_segment_sum(tf.cast(rows, tf.float64), labels, tf.shape(sums)[0]),
    )

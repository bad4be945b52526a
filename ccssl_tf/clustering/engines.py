"""Which engine makes the passes of a fit: `host` on processors, or `device` where there is more.

Of several processes (MultiWorkerMirroredStrategy) each one has a contiguous part of the rows. In
Lloyd's passes it assigns these in any way there is; sums are added in one fixed order, in float64,
and labels and distances gathered, so that after a pass all processes hold the same, and go on alike
to re-seeding and stopping.
"""

import functools

import numpy as np
import tensorflow as tf

from ccssl_tf import distribution
from ccssl_tf.clustering.assignment import Assignment, Begun, MakeAssignment, OnRows, PassResult
from ccssl_tf.clustering.device import lloyd
from ccssl_tf.clustering.device.rows import DeviceRows
from ccssl_tf.clustering.host import plain
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader, reader_of_worker


def make_assignment(
    kind: MakeAssignment,
    reader: ChunkReader,
    labels: np.ndarray,
    sums: np.ndarray,
    strategy: tf.distribute.Strategy,
) -> Assignment:
    """Returns `kind(reader, labels, sums)`, or what does its work on the strategy's replicas."""
    if computes_on_devices(strategy):
        kind = functools.partial(lloyd.DeviceAssignment, strategy=strategy)
    if distribution.worker(strategy)[1] > 1:
        return WorkerAssignment(reader, labels, sums, kind=kind, strategy=strategy)
    return kind(reader, labels, sums)


def nearest(
    reader: ChunkReader,
    centroids: np.ndarray,
    strategy: tf.distribute.Strategy,
    rows: DeviceRows | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Makes one pass over the rows, of which each worker takes its part.

    Args:
      reader: of all rows.
      centroids: [K, D] float32.
      strategy: whose replicas compute.
      rows: this worker's part, where the devices may have it already.

    Returns:
      labels [N] int32, squared distances [N] float32.
    """
    part = reader_of_worker(reader, strategy)
    on_devices = computes_on_devices(strategy)
    if rows and rows.is_loaded and (on_devices or not part.source.in_memory):
        labels, squares = lloyd.nearest(rows, centroids, strategy)
    elif on_devices:
        passing = DeviceRows(part.of_source(part.source, memory_bytes=0), strategy, len(centroids))
        labels, squares = lloyd.nearest(passing, centroids, strategy)
    else:
        labels, squares = plain.nearest(part, centroids)
    return (
        distribution.concatenate_over_workers(labels, strategy),
        distribution.concatenate_over_workers(squares, strategy),
    )


def nearest_beside(
    reader: ChunkReader,
    centroids: np.ndarray,
    labels: np.ndarray,
    count: int,
    strategy: tf.distribute.Strategy,
) -> tuple[np.ndarray, np.ndarray]:
    """Makes one pass over the rows that finds the centroids nearest to each beside its label's.

    TensorFlow computes it, on processors, too.

    Args:
      reader: of all rows.
      centroids: [K, D] float32, more than `count`.
      labels: [N] int32.
      count: number of centroids a row, m.
      strategy: whose replicas compute.

    Returns:
      [N, m] int32, nearest first, and squared distances [N, m] float32.
    """
    part = reader_of_worker(reader, strategy)
    rows = DeviceRows(part.of_source(part.source, memory_bytes=0), strategy, len(centroids))
    mine = labels[distribution.part_of_worker(len(labels), strategy)]
    others, squares = lloyd.nearest_beside(rows, centroids, mine, count, strategy)
    return (
        distribution.concatenate_over_workers(others, strategy),
        distribution.concatenate_over_workers(squares, strategy),
    )


def choose_algorithm(
    num_bytes: int, in_memory: bool, memory_bytes: int, strategy: tf.distribute.Strategy
) -> tuple[str, str]:
    """Returns the algorithm that "auto" stands for, and the reason.

    Exact passes over rows in memory cost little after the first; rows that are read again for each
    of them are clustered nearly as well by mini-batches, in a few passes.

    Args:
      num_bytes: of all rows.
      in_memory: whether they are in memory already.
      memory_bytes: bytes of rows that may be kept there.
      strategy: whose replicas compute.
    """
    size, memory = num_bytes / 2**30, memory_bytes / 2**30
    if not in_memory and num_bytes > memory_bytes:
        return "minibatch", (
            f"rows of {size:.3g} GiB do not fit {memory:.3g} GiB of memory and would be read again "
            "on every pass"
        )
    where = (
        f"{distribution.local_replicas(strategy)} replicas on devices compute all distances"
        if computes_on_devices(strategy)
        else "processors skip the distances that cannot matter"
    )
    return "lloyd", f"rows of {size:.3g} GiB are in memory; {where}"


def computes_on_devices(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether TensorFlow's devices compute the distances, and so all of them.

    They do where there are several replicas or a GPU. Assignments that skip distances run on CPUs
    alone; a GPU computes all in less time than it takes to decide which can be skipped.
    """
    return distribution.local_replicas(strategy) > 1 or bool(tf.config.list_logical_devices("GPU"))


class WorkerAssignment(Assignment):
    """Assigns this worker's part of the rows, and adds up the results of all workers."""

    def __init__(
        self,
        reader: ChunkReader,
        labels: np.ndarray,
        sums: np.ndarray,
        *,
        kind: MakeAssignment,
        strategy: tf.distribute.Strategy,
    ):
        """See `MakeAssignment`, for all rows. Args: kind: how this worker assigns its part."""
        self._strategy, self._chief = strategy, distribution.is_chief(strategy)
        part = distribution.part_of_worker(len(labels), strategy)
        self._weights = reader.source.weights
        self._inner = kind(
            reader_of_worker(reader, strategy),
            labels[part],
            sums if self._chief else np.zeros_like(sums),
        )

    def step(
        self, centroids: np.ndarray, begun: Begun | None = None, on_rows: OnRows | None = None
    ) -> PassResult:
        """See `Assignment`; a pass that was interrupted starts anew, with the same result.

        Args:
          centroids: the same on all workers.
          begun, on_rows: not used.
        """
        result = self._inner.step(centroids)
        sums = distribution.sum_over_workers(result.sums, self._strategy)
        # The next pass may go on from the sums in `result`. So the chief takes those of all rows,
        # as it does when a fit is continued.
        result.sums[...] = sums if self._chief else 0
        labels, squares = (
            distribution.concatenate_over_workers(values, self._strategy)
            for values in (result.labels, result.squares)
        )
        changed = np.zeros(len(centroids), np.int32)
        changed[result.changed] = 1
        changed = distribution.sum_over_workers(changed, self._strategy)
        computed, bytes_read = distribution.sum_over_workers(
            np.array([result.distances, result.bytes_read], np.float64), self._strategy
        )
        return PassResult(
            labels=labels,
            squares=squares,
            sums=sums,
            counts=np.bincount(labels, self._weights, minlength=len(centroids)),
            changed=np.flatnonzero(changed),
            distances=int(computed),
            bytes_read=int(bytes_read),
        )

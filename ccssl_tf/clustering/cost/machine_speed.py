"""How fast this machine computes distances and reads rows, by the functions that k-means runs.

It is measured in about two seconds.
"""

import dataclasses
import functools
import itertools
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ccssl_tf.clustering.cost.problem import Problem
from ccssl_tf.clustering.device.minibatch import MinibatchSteps
from ccssl_tf.clustering.device.minibatch_state import MinibatchState
from ccssl_tf.clustering.host import plain
from ccssl_tf.clustering.host.block_threads import chunk_rows, parts
from ccssl_tf.clustering.host.measuring import measure as measure_rows
from ccssl_tf.clustering.host.measuring import measuring_threads
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader
from ccssl_tf.clustering.rows.sources import ArraySource
from ccssl_tf.clustering.start.kmeans_plus_plus import closest_after, num_trials
from ccssl_tf.data.feature_source import FeatureSource

# Duration of each of the four measurements.
_SECONDS = 0.45
# Bytes of the random rows, more than the cache of a processor holds.
_SAMPLE_BYTES = 48 << 20
_MIN_SAMPLED_ROWS, _MAX_SAMPLED_ROWS = 1024, 1 << 16
# Bytes of the random centroids, at most; with more clusters the measured time is scaled up.
_MAX_CENTROID_BYTES = 256 << 20
# Bytes of a chunk when reading is measured, and its rows at most.
_READ_BYTES = 16 << 20
_MAX_READ_ROWS = 8192
# With so many chunks or more, the time until the first has come is left out.
_LONG_CHUNKS = 5


@dataclasses.dataclass(frozen=True)
class Machine:
    """The speed of a machine.

    Attributes:
      full_seconds: time for a row in a pass that computes all K distances.
      single_seconds: time for a row of which only the distance to the centroid of its label is
        computed.
      draw_seconds: time for a row and a centre that k-means++ draws.
      read_rate: bytes per second from the source; None if the rows are in memory.
      product_rate: floating-point operations per second in a pass that computes all distances.
    """

    full_seconds: float
    single_seconds: float
    draw_seconds: float
    read_rate: float | None
    product_rate: float


def measure(problem: Problem, source: FeatureSource | None = None) -> Machine:
    """Measures this machine for about two seconds, less where the whole work is less.

    Args:
      problem: random rows of its D, and its K, algorithm and batch size, are measured.
      source: from which rows are read; None: reading is not measured.
    """
    generator = np.random.default_rng(0)
    clusters = int(np.clip(_MAX_CENTROID_BYTES // (4 * problem.dim), 1, problem.num_clusters))
    centroids = generator.random([clusters, problem.dim], np.float32)
    sample = int(np.clip(_SAMPLE_BYTES // (4 * problem.dim), _MIN_SAMPLED_ROWS, _MAX_SAMPLED_ROWS))
    rows = generator.random([min(sample, problem.num_examples), problem.dim], np.float32)
    # A chunk has as many rows as a pass works on together; the random ones are repeated for it.
    size = chunk_rows(problem.num_examples, problem.dim, clusters)
    chunk = np.resize(rows, [min(size, problem.num_examples), problem.dim])
    limit = 4 * problem.num_examples
    compute = _minibatch_steps if problem.algorithm == "minibatch" else _full_pass
    full_seconds = (
        _seconds_per_row(compute(problem, centroids, chunk), limit)
        * problem.num_clusters
        / clusters
    )
    single_seconds = _seconds_per_row(_single_distances(problem, centroids, chunk), limit)
    draw_seconds = _seconds_per_row(_draws(problem, rows), limit * problem.num_clusters)
    rate = None if source is None or source.in_memory else _read_rate(source, problem)
    return Machine(
        full_seconds,
        single_seconds,
        draw_seconds,
        rate,
        2.0 * problem.dim * problem.num_clusters / full_seconds,
    )


# The following return a function that computes, and returns of how many rows.
_Compute = Callable[[], int]


def _full_pass(problem: Problem, centroids: np.ndarray, rows: np.ndarray) -> _Compute:
    reader = ChunkReader(ArraySource(rows), len(rows), 0)

    def compute() -> int:
        plain.nearest(reader, centroids, problem.num_examples)
        return len(rows)

    return compute


def _single_distances(problem: Problem, centroids: np.ndarray, rows: np.ndarray) -> _Compute:
    labels, squares = np.arange(len(rows)) % len(centroids), np.empty(len(rows), np.float32)
    threads = measuring_threads(rows.shape[1], len(centroids), problem.num_examples)
    numbers = parts(np.arange(len(rows)), threads.num_rows["block"])
    measure_part = functools.partial(measure_rows, rows, centroids, labels, squares, threads)

    def compute() -> int:
        threads.run(measure_part, numbers)
        return len(rows)

    return compute


def _draws(problem: Problem, rows: np.ndarray) -> _Compute:
    values, ones = tf.constant(rows), tf.ones([len(rows)])
    candidates = tf.range(num_trials(problem.num_clusters), dtype=tf.int64) % len(rows)

    def compute() -> int:
        closest_after(values, ones, ones, candidates, ones)[0].numpy()
        return len(rows)

    return compute


def _minibatch_steps(problem: Problem, centroids: np.ndarray, rows: np.ndarray) -> _Compute:
    size = min(problem.minibatch_size, len(rows))
    state = MinibatchState.start(centroids, max(problem.num_examples, size))
    minibatch = MinibatchSteps(state, tf.distribute.get_strategy(), seed=0, reassignment_ratio=0.0)
    firsts = itertools.cycle(range(0, len(state.labels) - size + 1, size))

    def compute() -> int:
        minibatch.run_batch(next(firsts) + np.arange(size), rows[:size])
        return size

    return compute


def _seconds_per_row(compute: _Compute, limit: int) -> float:
    """Calls `compute` once to warm up, then until enough time has passed or `limit` rows are done.

    The first call counts only if it takes that time alone.
    """
    started, done = time.perf_counter(), compute()
    if (first := time.perf_counter() - started) >= _SECONDS:
        return first / done
    started, done = time.perf_counter(), 0
    while not done or (time.perf_counter() - started < _SECONDS and done < limit):
        done += compute()
    return (time.perf_counter() - started) / done


def _read_rate(source: FeatureSource, problem: Problem) -> float:
    """Returns bytes per second."""
    rows = int(np.clip(_READ_BYTES // problem.row_bytes, 1, _MAX_READ_ROWS))
    started, read = time.perf_counter(), []
    for chunk in source.chunks(rows):
        read.append((time.perf_counter(), len(chunk) * problem.row_bytes))
        if read[-1][0] - started > _SECONDS:
            break
    # In a long pass the time until the first chunk comes does not count, in a short one it does.
    if len(read) >= _LONG_CHUNKS:
        (started, _), *read = read
    return sum(size for _, size in read) / max(read[-1][0] - started, 1e-9)

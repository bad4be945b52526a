"""How fast this machine computes distances and reads rows, measured in about two seconds with what
k-means itself runs.
"""

import dataclasses
import functools
import time

import numpy as np
import tensorflow as tf

from ccssl_tf.clustering import assignment, sources
from ccssl_tf.clustering.block_threads import parts
from ccssl_tf.clustering.initialization import closest_after, num_trials
from ccssl_tf.clustering.minibatch import MinibatchState, MinibatchSteps

# Four measurements of this length make the two seconds.
_SECONDS = 0.45
# Rows that a processor's cache does not hold.
_SAMPLE_BYTES = 48 << 20
_CENTROID_BYTES = 256 << 20
_READ_BYTES = 16 << 20
_LONG_CHUNKS = 5


@dataclasses.dataclass(frozen=True)
class Machine:
    """What was measured.

    Attributes:
      full_seconds: a row in a pass that computes all K distances.
      own_seconds: a row of which only the distance to its own centroid is computed.
      draw_seconds: a row for every centre that k-means++ draws.
      read_rate: bytes per second from the source; None if the rows are in memory.
      product_rate: floating-point operations per second in such a pass.
    """

    full_seconds: float
    own_seconds: float
    draw_seconds: float
    read_rate: float | None
    product_rate: float


def measure(problem, source=None) -> Machine:
    """Measures this machine for about two seconds, less where the whole work is less.

    Args:
      problem: `cost.Problem`: its D, K, algorithm and batch size are those of what is measured, on
        random rows.
      source: what to read from; None: nothing.
    """
    generator = np.random.default_rng(0)
    clusters = int(np.clip(_CENTROID_BYTES // (4 * problem.dim), 1, problem.num_clusters))
    centroids = generator.random([clusters, problem.dim], np.float32)
    sample = int(np.clip(_SAMPLE_BYTES // (4 * problem.dim), 1024, 1 << 16))
    rows = generator.random([min(sample, problem.num_examples), problem.dim], np.float32)
    # As many as a pass works on together, which may be more than are worth drawing.
    size = assignment.chunk_rows(problem.num_examples, problem.dim, clusters)
    chunk = np.resize(rows, [min(size, problem.num_examples), problem.dim])
    limit = 4 * problem.num_examples
    compute = _minibatch_steps if problem.algorithm == "minibatch" else _full_pass
    full_seconds = (
        _seconds_per_row(compute(problem, centroids, chunk), limit)
        * problem.num_clusters
        / clusters
    )
    own_seconds = _seconds_per_row(_own_distances(problem, centroids, chunk), limit)
    draw_seconds = _seconds_per_row(_draws(problem, rows), limit * problem.num_clusters)
    rate = None if source is None or source.in_memory else _read_rate(source, problem)
    return Machine(
        full_seconds,
        own_seconds,
        draw_seconds,
        rate,
        2.0 * problem.dim * problem.num_clusters / full_seconds,
    )


def _full_pass(problem, centroids, rows):
    reader = sources.ChunkReader(sources.ArraySource(rows), len(rows), 0)

    def compute():
        assignment.nearest(reader, centroids, problem.num_examples)
        return len(rows)

    return compute


def _own_distances(problem, centroids, rows):
    labels, squares = np.arange(len(rows)) % len(centroids), np.empty(len(rows), np.float32)
    threads = assignment.measuring_threads(rows.shape[1], len(centroids), problem.num_examples)
    numbers = parts(np.arange(len(rows)), threads.num_rows["block"])
    measure_part = functools.partial(assignment.measure, rows, centroids, labels, squares, threads)

    def compute():
        threads.run(measure_part, numbers)
        return len(rows)

    return compute


def _draws(problem, rows):
    values, candidates = (
        tf.constant(rows),
        tf.range(num_trials(problem.num_clusters), dtype=tf.int64) % len(rows),
    )
    norms, closest, weights = tf.ones([len(rows)]), tf.ones([len(rows)]), tf.ones([len(rows)])

    def compute():
        closest_after(values, norms, closest, candidates, weights)[0].numpy()
        return len(rows)

    return compute


def _minibatch_steps(problem, centroids, rows):
    size = min(problem.minibatch_size, len(rows))
    state = MinibatchState.start(centroids, max(problem.num_examples, size))
    minibatch, whole = (
        MinibatchSteps(state, seed=0, reassignment_ratio=0.0),
        len(state.labels) // size,
    )

    def compute():
        first = state.step % whole * size
        minibatch.step(
            np.arange(first, first + size), rows[:size], lambda position: ArithmeticError(position)
        )
        return size

    return compute


def _seconds_per_row(compute, limit):
    """Calls `compute`, which returns a number of rows, once for warmth and then until time or rows
    are enough.
    """
    started, done = time.perf_counter(), compute()
    if (warmth := time.perf_counter() - started) >= _SECONDS:
        return warmth / done
    started, done = time.perf_counter(), 0
    while not done or (time.perf_counter() - started < _SECONDS and done < limit):
        done += compute()
    return (time.perf_counter() - started) / done


def _read_rate(source, problem):
    rows = int(np.clip(_READ_BYTES // problem.row_bytes, 1, 8192))
    started, read = time.perf_counter(), []
    for chunk in source.chunks(rows):
        read.append((time.perf_counter(), len(chunk) * problem.row_bytes))
        if read[-1][0] - started > _SECONDS:
            break
    # A long pass does not notice how long its first chunk takes; a short one is little else.
    if len(read) >= _LONG_CHUNKS:
        (started, _), *read = read
    return sum(size for _, size in read) / max(read[-1][0] - started, 1e-9)

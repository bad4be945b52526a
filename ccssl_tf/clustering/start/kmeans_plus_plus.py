"""Greedy k-means++ on a sample of the rows.

Arthur and Vassilvitskii 2007; their section 2.2 has several trials for each centre.
"""

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ccssl_tf.clustering.device.nearest import squared_distances

# The formula for squared distances is usually off by so much of the squared norms, times the root
# of D; where that is more than a thousandth of a distance, the distance is computed of differences.
_ROUNDING = 2.0**-22
_MAX_ERROR = 1e-3
# Bytes of the differences that are computed at a time.
_DIFFERENCE_BYTES = 64 << 20
# Rows of the sample: so many for each cluster, and no fewer than the minimum.
_SAMPLED_ROWS_A_CLUSTER = 20
_MIN_SAMPLED_ROWS = 20_000


def affordable_rows(dim: int, num_clusters: int, memory_bytes: int) -> int:
    """Returns how many float32 rows a third of the memory holds, but at least 2 K."""
    return max(memory_bytes // (12 * dim), 2 * num_clusters)


def sample_size(num_examples: int, dim: int, num_clusters: int, memory_bytes: int) -> int:
    """Returns how many rows k-means++ sees: 20 K, at least 20,000, if so many are affordable."""
    wanted = max(_SAMPLED_ROWS_A_CLUSTER * num_clusters, _MIN_SAMPLED_ROWS)
    return min(num_examples, wanted, affordable_rows(dim, num_clusters, memory_bytes))


def random_positions(
    num_examples: int, count: int, seed: int, weights: np.ndarray | None = None
) -> np.ndarray:
    """Returns `count` different positions in [0, N), ascending: [count] int64.

    They are drawn uniformly; with weights [N], of which only the positive ones matter, uniformly
    among the rows that have some, and others only where these do not suffice.
    """
    generator = np.random.default_rng([seed, 0])
    if weights is None:
        return np.sort(generator.choice(num_examples, count, replace=False, shuffle=False))
    heavy, light = np.flatnonzero(weights > 0), np.flatnonzero(weights == 0)
    some = generator.choice(heavy, min(count, len(heavy)), replace=False, shuffle=False)
    rest = generator.choice(light, count - len(some), replace=False, shuffle=False)
    return np.sort(np.concatenate([some, rest]))


def num_trials(num_clusters: int) -> int:
    """Returns how many rows are drawn for each centre, of which the best becomes the centre."""
    return 2 + int(math.log(num_clusters))


def kmeans_plus_plus(
    rows: np.ndarray,
    num_clusters: int,
    seed: int,
    check_stop: Callable[[], None] = lambda: None,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Chooses K rows as centres: each the best of 2 + log K rows that are drawn.

    A row is drawn with a probability in proportion to its weight times its squared distance to the
    nearest centre so far. The best is the one after which the weighted sum of these is lowest.

    Args:
      rows: [S, D] float32, S >= K.
      num_clusters: K.
      seed: of the draws.
      check_stop: called for every centre; may raise.
      weights: [S] float, how many rows each stands for; None: one each.

    Returns:
      [K, D] float32, rows of `rows`; all different if there are K different rows.
    """
    generator = np.random.default_rng([seed, 1])
    trials = num_trials(num_clusters)
    centred = tf.constant(rows) - tf.reduce_mean(rows, axis=0)
    norms = tf.reduce_sum(centred * centred, axis=-1)
    weights = np.ones(len(rows), np.float32) if weights is None else np.asarray(weights, np.float32)
    chosen = np.empty(num_clusters, np.int64)
    chosen[0] = (
        generator.integers(len(rows))
        if (weights == 1).all()
        else generator.choice(len(rows), p=weights / weights.sum(dtype=float))
    )
    closest, _ = closest_after(
        centred, norms, tf.fill([len(rows)], tf.float32.max), tf.constant(chosen[:1]), weights
    )
    for number in range(1, num_clusters):
        check_stop()
        cumulated = np.cumsum(closest * weights, dtype=np.float64)
        if cumulated[-1] > 0:
            draws = np.searchsorted(
                cumulated, generator.random(trials) * cumulated[-1], side="right"
            )
        else:  # There are no more different rows; the other centres are copies of some.
            draws = generator.integers(len(rows), size=trials)
        candidates = np.minimum(draws, len(rows) - 1)
        closest, best = closest_after(centred, norms, closest, tf.constant(candidates), weights)
        chosen[number] = candidates[best]
    return rows[chosen]


@tf.function(
    input_signature=[
        tf.TensorSpec([None, None], tf.float32),
        tf.TensorSpec([None], tf.float32),
        tf.TensorSpec([None], tf.float32),
        tf.TensorSpec([None], tf.int64),
        tf.TensorSpec([None], tf.float32),
    ]
)
def closest_after(
    rows: tf.Tensor, norms: tf.Tensor, closest: tf.Tensor, candidates: tf.Tensor, weights: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Chooses one of several rows as the next centre.

    Args:
      rows: [S, D] float32.
      norms: [S] float32, their squared norms.
      closest: [S] float32, their squared distance to the nearest centre so far.
      candidates: [T] int64, which rows may be chosen.
      weights: [S] float32, of the rows.

    Returns:
      `closest` [S] float32 with the best candidate among the centres, and which that is, int64 in
      [0, T).
    """
    both_norms = tf.gather(norms, candidates)[:, None] + norms
    squares = squared_distances(-2 * tf.gather(rows, candidates), rows, both_norms)
    dim = tf.cast(tf.shape(rows)[1], tf.float32)
    is_rounding = squares * _MAX_ERROR <= _ROUNDING * tf.sqrt(dim) * both_norms
    squares = _of_differences(squares, tf.where(is_rounding), rows, candidates)
    closest = tf.minimum(closest, squares)
    best = tf.argmin(tf.reduce_sum(tf.cast(closest * weights, tf.float64), axis=-1))
    return closest[best], best


def _of_differences(
    squares: tf.Tensor, pairs: tf.Tensor, rows: tf.Tensor, candidates: tf.Tensor
) -> tf.Tensor:
    """Returns `squares` [T, S] with those at `pairs` [p, 2] computed of differences."""
    size = tf.maximum(_DIFFERENCE_BYTES // (4 * tf.shape(rows, tf.int64)[1]), 1)

    def compute(start: tf.Tensor, squares: tf.Tensor) -> list[tf.Tensor]:
        some = pairs[start : start + size]
        centres = tf.gather(rows, tf.gather(candidates, some[:, 0]))
        difference = tf.math.squared_difference(tf.gather(rows, some[:, 1]), centres)
        computed = tf.reduce_sum(difference, axis=-1)
        return [start + size, tf.tensor_scatter_nd_update(squares, some, computed)]

    count = tf.shape(pairs, tf.int64)[0]
    start = tf.constant(0, tf.int64)
    return tf.while_loop(lambda start, _: start < count, compute, [start, squares])[1]

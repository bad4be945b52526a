"""Greedy k-means++ (Arthur and Vassilvitskii 2007, section 2.2 for several trials a centre), and
which rows it sees.
"""

import math

import numpy as np
import tensorflow as tf

# Squared distances below this share of the squared norms are rounding: the two rows are copies of
# each other.
_ROUNDING = np.float32(1e-6)


def sample_size(num_examples: int, dim: int, num_clusters: int, memory_bytes: int) -> int:
    """Returns how many rows k-means++ sees: 20 a cluster, at least 20,000, no more than N or than a
    third of the memory holds.
    """
    wanted = max(20 * num_clusters, 20_000)
    affordable = max(memory_bytes // (12 * dim), 2 * num_clusters)
    return min(num_examples, wanted, affordable)


def random_positions(num_examples: int, count: int, seed: int) -> np.ndarray:
    """Returns `count` different positions in [0, N), ascending, drawn uniformly: [count] int64."""
    generator = np.random.default_rng([seed, 0])
    return np.sort(generator.choice(num_examples, count, replace=False, shuffle=False))


def num_trials(num_clusters: int) -> int:
    """Returns of how many rows drawn each centre of greedy k-means++ is the best."""
    return 2 + int(math.log(num_clusters))


def kmeans_plus_plus(
    rows: np.ndarray, num_clusters: int, seed: int, check_stop=lambda: None, weights=None
) -> np.ndarray:
    """Greedy k-means++: each centre is the best of 2 + log K rows drawn with probability
    proportional to the squared distance.

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
        else:  # Fewer different rows than clusters: the rest start as copies, k-means says so.
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
def closest_after(rows, norms, closest, candidates, weights):
    """Returns each row's squared distance to its closest centre [S] if the best candidate joins,
    and which one that is.
    """
    own_norms = tf.gather(norms, candidates)[:, None]
    distances = (
        own_norms + norms - 2 * tf.matmul(tf.gather(rows, candidates), rows, transpose_b=True)
    )
    distances = tf.where(distances > _ROUNDING * (own_norms + norms), distances, 0.0)
    closest = tf.minimum(closest, distances)
    best = tf.argmin(tf.reduce_sum(tf.cast(closest * weights, tf.float64), axis=-1))
    return closest[best], best

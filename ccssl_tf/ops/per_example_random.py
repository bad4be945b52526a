"""Counter-based random numbers, one independent stream per example: a pure function of (seed,
stream, position).

Every batch carries `seed` [B, 2]; all randomness of a training step comes from it through these
functions, so a result does not depend on the number of replicas or on where a run was resumed.
TensorFlow's stateless generators take one seed per call; these take one per row. The mixer is the
32-bit finaliser "lowbias32" (C. Wellons, hash-prospector), exact in int64 arithmetic on any device.
"""

import math

import tensorflow as tf

_MASK = 0xFFFFFFFF


def _mix(x):
    x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(16, tf.int64)))
    x = tf.bitwise.bitwise_and(x * 0x21F0AAAD, tf.constant(_MASK, tf.int64))
    x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(15, tf.int64)))
    x = tf.bitwise.bitwise_and(x * 0x735A2D97, tf.constant(_MASK, tf.int64))
    return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(15, tf.int64)))


def _absorb(state, word):
    word = tf.bitwise.bitwise_and(tf.cast(word, tf.int64), tf.constant(_MASK, tf.int64))
    return _mix(
        tf.bitwise.bitwise_xor(
            _mix(tf.bitwise.bitwise_and(state + 0x9E3779B9, tf.constant(_MASK, tf.int64))), word
        )
    )


def uniform(seed, count: int, stream: int):
    """Returns [B, count] float32 in [0, 1) from seed [B, 2] (any integer dtype); different
    `stream`s are independent.
    """
    seed = tf.cast(seed, tf.int64)
    state = tf.fill(tf.shape(seed)[:1], tf.constant(stream, tf.int64))
    for column in range(2):
        state = _absorb(
            _absorb(state, seed[:, column]),
            tf.bitwise.right_shift(seed[:, column], tf.constant(32, tf.int64)),
        )
    bits = _absorb(state[:, None], tf.range(count, dtype=tf.int64)[None])
    return tf.cast(tf.bitwise.right_shift(bits, tf.constant(8, tf.int64)), tf.float32) * 2.0**-24


def integers(seed, count: int, stream: int, maximum):
    """Returns [B, count] int32, uniform in [0, maximum)."""
    maximum_float = tf.cast(maximum, tf.float32)
    return tf.cast(
        tf.minimum(tf.floor(uniform(seed, count, stream) * maximum_float), maximum_float - 1),
        tf.int32,
    )


def distinct_integers(seed, count: int, stream: int, maximum: int):
    """Returns [B, count] int32: `count` different values of [0, maximum), in random order."""
    return tf.math.top_k(uniform(seed, maximum, stream), k=count, sorted=True).indices


def uniform_like(seed, x, stream: int):
    """Returns uniforms of x's shape [B * m, ...]: each example's m rows come from its own seed (m =
    rows of x / rows of seed).
    """
    per_row = tf.reduce_prod(tf.shape(x)[1:]) if None in x.shape[1:] else math.prod(x.shape[1:])
    if x.shape[0] is not None and seed.shape[0] is not None:
        per_example = x.shape[0] // seed.shape[0] * per_row
    else:
        per_example = tf.shape(x)[0] // tf.shape(seed)[0] * per_row
    return tf.reshape(uniform(seed, per_example, stream), tf.shape(x))

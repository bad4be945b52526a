"""The generator against a re-implementation in NumPy's unsigned arithmetic, and its distribution
against SciPy.
"""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from ccssl_tf.ops import per_example_random as random


def lowbias32(x):
    """The finaliser as published, in 32-bit unsigned arithmetic that wraps around."""
    x = x.astype(np.uint32)
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x21F0AAAD)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x735A2D97)
    return x ^ (x >> np.uint32(15))


def absorb(state, word):
    return lowbias32(lowbias32(state + np.uint32(0x9E3779B9)) ^ word.astype(np.uint32))


def reference(seed, count, stream):
    """[B, count] float32 of `uniform`."""
    seed = np.asarray(seed, np.int64).view(np.uint64)
    state = np.full(len(seed), stream, np.uint32)
    for column in range(2):
        state = absorb(
            absorb(state, seed[:, column] & np.uint64(0xFFFFFFFF)), seed[:, column] >> np.uint64(32)
        )
    bits = absorb(state[:, None], np.arange(count)[None])
    return (bits >> np.uint32(8)).astype(np.float32) / np.float32(2**24)


SEEDS = np.array(
    [
        [0, 0],
        [0, 1],
        [1, 0],
        [-1, 7],
        [2**62 + 12345, 2**40],
        [-(2**63), 2**63 - 1],
        [3 * 2**32 + 5, 1281166],
    ]
)


def seeds(number, epoch=0):
    """Seeds as batches carry them: (seed and epoch, image index)."""
    return tf.stack(
        [tf.fill([number], tf.constant(epoch, tf.int64)), tf.range(number, dtype=tf.int64)], 1
    )


@pytest.mark.parametrize("stream", [0, 1, 1000, 2**31])
def test_bit_for_bit(stream):
    with np.errstate(over="ignore"):
        expected = reference(SEEDS, 100, stream)
    np.testing.assert_array_equal(random.uniform(SEEDS, 100, stream), expected)
    np.testing.assert_array_equal(
        tf.function(random.uniform, jit_compile=True)(tf.constant(SEEDS), 100, stream), expected
    )


def test_integer_types_of_seeds_agree():
    small = SEEDS[:3]
    for dtype in ("int32", "int64", "uint32"):
        np.testing.assert_array_equal(
            random.uniform(tf.constant(small, dtype), 5, 1), random.uniform(small, 5, 1)
        )


def test_rows_depend_on_their_own_seed_alone():
    whole = random.uniform(SEEDS, 20, 3).numpy()
    order = np.array([5, 0, 0, 6, 2])
    np.testing.assert_array_equal(random.uniform(SEEDS[order], 20, 3), whole[order])
    for row in range(len(SEEDS)):
        np.testing.assert_array_equal(random.uniform(SEEDS[row : row + 1], 20, 3)[0], whole[row])
    # More draws go on where fewer stopped.
    np.testing.assert_array_equal(random.uniform(SEEDS, 7, 3), whole[:, :7])


@pytest.mark.parametrize("axis", ["examples", "draws", "epochs", "streams"])
def test_uniform(axis):
    draws = {
        "examples": lambda: random.uniform(seeds(100_000), 1, 0),
        "draws": lambda: random.uniform(seeds(1), 100_000, 0),
        "epochs": lambda: random.uniform(tf.reverse(seeds(100_000, 3), [1]), 1, 0),
        "streams": lambda: tf.concat(
            [random.uniform(seeds(100), 100, stream) for stream in range(10)], 0
        ),
    }[axis]()
    draws = draws.numpy().ravel()
    assert draws.min() >= 0 and draws.max() < 1
    # One in a thousand good generators would fail each line; the draws are fixed.
    assert stats.chisquare(np.histogram(draws, 100, (0, 1))[0]).pvalue > 1e-3
    assert stats.kstest(draws, "uniform").pvalue > 1e-3
    assert (
        stats.chisquare(np.bincount((draws * 2**24).astype(int) % 256, minlength=256)).pvalue > 1e-3
    )


def test_neighbours_and_streams_are_uncorrelated():
    base = random.uniform(seeds(50_000), 2, 0).numpy()
    others = dict(
        next_draw=base[:, 1],
        next_example=np.roll(base[:, 0], 1),
        next_epoch=random.uniform(seeds(50_000, 1), 1, 0).numpy()[:, 0],
        next_stream=random.uniform(seeds(50_000), 1, 1).numpy()[:, 0],
        next_seed=random.uniform(seeds(50_000, 2**32), 1, 0).numpy()[:, 0],
    )
    for name, other in others.items():
        assert abs(np.corrcoef(base[:, 0], other)[0, 1]) < 4 / np.sqrt(50_000), name
        pairs = np.histogram2d(base[:, 0], other, 16, [[0, 1], [0, 1]])[0]
        assert stats.chisquare(pairs.ravel()).pvalue > 1e-3, name


@pytest.mark.parametrize("maximum", [1, 2, 3, 9, 701])
def test_integers_are_uniform_in_range(maximum):
    found = random.integers(seeds(3000), 20, 5, maximum)
    assert found.dtype == tf.int32 and found.shape == [3000, 20]
    counts = np.bincount(found.numpy().ravel(), minlength=maximum)
    assert len(counts) == maximum
    assert maximum == 1 or stats.chisquare(counts).pvalue > 1e-3
    np.testing.assert_array_equal(random.integers(seeds(3000), 20, 5, tf.constant(maximum)), found)


def test_integers_never_reach_the_maximum(monkeypatch):
    monkeypatch.setattr(random, "uniform", lambda *unused: tf.constant([[1 - 2.0**-24]]))
    for maximum in (1, 3, 701, 2**20 + 1, 2**24 - 1):
        assert int(random.integers(None, 1, 0, maximum)[0, 0]) == maximum - 1


def test_distinct_integers():
    found = random.distinct_integers(seeds(20_000), 2, 7, 9).numpy()
    assert found.dtype == np.int32 and found.shape == (20_000, 2)
    assert found.min() == 0 and found.max() == 8 and np.all(found[:, 0] != found[:, 1])
    pairs = np.bincount(found[:, 0] * 9 + found[:, 1], minlength=81).reshape(9, 9)
    assert stats.chisquare(pairs[~np.eye(9, dtype=bool)]).pvalue > 1e-3
    whole = random.distinct_integers(seeds(50), 9, 7, 9).numpy()
    np.testing.assert_array_equal(np.sort(whole, 1), np.tile(np.arange(9), [50, 1]))


@pytest.mark.parametrize("shape", [(6, 4), (3, 2, 5), (12, 7)])
def test_uniform_like_gives_each_example_its_rows(shape):
    seed, x = seeds(3), tf.zeros(shape)
    expected = np.concatenate(
        [
            random.uniform(seed[row : row + 1], int(np.prod(shape)) // 3, 2).numpy().ravel()
            for row in range(3)
        ]
    )
    np.testing.assert_array_equal(random.uniform_like(seed, x, 2), expected.reshape(shape))
    signature = [tf.TensorSpec([None, 2], tf.int64), tf.TensorSpec([None, *shape[1:]], tf.float32)]
    dynamic = tf.function(
        lambda seed, x: random.uniform_like(seed, x, 2), input_signature=signature
    )
    np.testing.assert_array_equal(dynamic(seed, x), expected.reshape(shape))

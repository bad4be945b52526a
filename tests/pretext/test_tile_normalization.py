"""Caffe's mean-variance normalisation of a tile against loops, forward and gradient."""

import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.pretext.tiles import normalize_tiles


def tiles(scale=40.0):
    return np.random.default_rng(0).normal(100, scale, size=[2, 9, 4, 4, 3]).astype("float32")


def loops(x):
    """50 (x - mean) / deviation, number by number in float64."""
    y = np.empty(x.shape)
    for place in np.ndindex(x.shape[:2]):
        numbers = [float(number) for number in x[place].ravel()]
        mean = sum(numbers) / len(numbers)
        deviation = (sum((number - mean) ** 2 for number in numbers) / len(numbers)) ** 0.5
        y[place] = np.reshape([50 * (number - mean) / deviation for number in numbers], x.shape[2:])
    return y


def test_forward():
    np.testing.assert_allclose(normalize_tiles(tf.constant(tiles())), loops(tiles()), atol=1e-3)


def test_one_mean_and_deviation_over_all_channels():
    """A tile of one colour a channel keeps the differences between its channels."""
    tile = np.broadcast_to(np.array([10, 20, 60], "float32"), [1, 1, 4, 4, 3])
    found = normalize_tiles(tf.constant(tile)).numpy()[0, 0, 0, 0]
    np.testing.assert_allclose(
        found, (np.array([10, 20, 60]) - 30) / np.std([10, 20, 60]) * 50, rtol=1e-5
    )


def test_gradient_is_that_of_the_loops():
    """Also by finite differences.

    d loss / d x_i = 50 / s * (g_i - mean(g) - z_i * mean(g z)), z the normalised tile over 50.
    """
    x, direction = tf.constant(tiles()), np.random.default_rng(1).normal(size=[2, 9, 4, 4, 3])
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(normalize_tiles(x) * direction.astype("float32"))
    found = tape.gradient(loss, x).numpy()
    x64 = x.numpy().astype(float)
    for place in np.ndindex(2, 9):
        z, g, count = loops(x64)[place] / 50, direction[place], 48
        mean_g, mean_gz = sum(g.ravel()) / count, sum((g * z).ravel()) / count
        expected = np.empty(z.shape)
        for index in np.ndindex(z.shape):
            expected[index] = 50 / x64[place].std() * (g[index] - mean_g - z[index] * mean_gz)
        np.testing.assert_allclose(found[place], expected, rtol=1e-3, atol=1e-4)
    for place in [(0, 0, 1, 2, 0), (1, 8, 3, 3, 2)]:
        moved = np.zeros(x.shape)
        moved[place] = 1e-4
        difference = np.sum((loops(x64 + moved) - loops(x64 - moved)) * direction) / 2e-4
        assert found[place] == pytest.approx(difference, rel=1e-3, abs=1e-4)


def test_a_flat_tile_has_finite_values_and_gradients():
    x = tf.fill([1, 9, 4, 4, 3], 7.0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = normalize_tiles(x)
    assert np.isfinite(y).all() and np.isfinite(tape.gradient(y, x)).all()

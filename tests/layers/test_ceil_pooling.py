"""Pooling that rounds up, against loops as Caffe writes them."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.layers import CeilMaxPooling2D


def loops(x, pool, stride):
    """The maximum over windows that are cut off at the border; as many windows as start before the
    end is covered.
    """
    height, width = (math.ceil((side - pool) / stride) + 1 for side in x.shape[1:3])
    y = np.empty([len(x), height, width, x.shape[3]], x.dtype)
    for row in range(height):
        for column in range(width):
            y[:, row, column] = x[
                :, row * stride : row * stride + pool, column * stride : column * stride + pool
            ].max((1, 2))
    return y


def picture(height, width):
    # Negative everywhere: a border filled with zeros would show.
    return (
        np.random.default_rng(height * 100 + width).normal(size=[2, height, width, 3]) - 10
    ).astype("float32")


DYNAMIC = {
    settings: tf.function(
        CeilMaxPooling2D(*settings), input_signature=[tf.TensorSpec([None, None, None, 3])]
    )
    for settings in [(3, 2), (2, 2), (3, 3)]
}


@pytest.mark.parametrize("settings", DYNAMIC)
@pytest.mark.parametrize("height", range(6, 16))
def test_values_for_known_and_unknown_sizes(settings, height):
    x = picture(height, 21 - height)
    expected = loops(x, *settings)
    layer = CeilMaxPooling2D(*settings)
    np.testing.assert_array_equal(layer(x), expected)
    np.testing.assert_array_equal(DYNAMIC[settings](x), expected)
    assert layer.compute_output_shape(x.shape) == expected.shape


def test_caffes_sizes():
    """55 -> 27 -> 13 -> 6 on 227-pixel images, 27 -> 13 -> 6 -> 3 on 64-pixel tiles."""
    layer = CeilMaxPooling2D(3, 2)
    for size, expected in ((55, 27), (27, 13), (13, 6), (6, 3), (3, 1), (2, 1)):
        assert layer(tf.zeros([1, size, size, 1])).shape == (1, expected, expected, 1)
    assert layer.compute_output_shape((None, None, 13, 8)) == (None, None, 6, 8)


@pytest.mark.parametrize(("size", "expected"), [(16, 8), (5, 3), (4, 2), (3, 2), (2, 2), (1, 1)])
def test_small_maps_are_kept(size, expected):
    layer = CeilMaxPooling2D(2, 2, keep_below=2)
    x = picture(size, size)
    assert layer(x).shape == layer.compute_output_shape(x.shape) == (2, expected, expected, 3)
    dynamic = tf.function(layer, input_signature=[tf.TensorSpec([None, None, None, 3])])
    np.testing.assert_array_equal(dynamic(x), x if expected == size else loops(x, 2, 2))


@pytest.mark.parametrize("settings", [(2, 2), (3, 2), (3, 3), (3, 1)])
@pytest.mark.parametrize("known", [True, False])
def test_gradient_reaches_the_maximum_of_each_window(settings, known):
    """Windows overlap and are cut off at the border; a cell that wins several gets the sum of their
    gradients.
    """
    pool, stride = settings
    x = tf.constant(picture(7, 8))
    layer = CeilMaxPooling2D(pool, stride)
    function = (
        layer
        if known
        else tf.function(layer, input_signature=[tf.TensorSpec([None, None, None, 3])])
    )
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
        direction = np.random.default_rng(3).normal(size=y.shape).astype("float32")
        loss = tf.reduce_sum(y * direction)
    gradient = tape.gradient(loss, x).numpy()
    expected = np.zeros(x.shape)
    for batch, row, column, channel in np.ndindex(*y.shape):
        top, left = row * stride, column * stride
        window = x.numpy()[batch, top : top + pool, left : left + pool, channel]
        place = np.unravel_index(window.argmax(), window.shape)
        expected[batch, top + place[0], left + place[1], channel] += direction[
            batch, row, column, channel
        ]
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("side", [None, 13])
def test_in_a_saved_model(tmp_path, side):
    images = keras.Input([side, side, 3])
    model = keras.Model(images, CeilMaxPooling2D(3, 2, keep_below=2)(images))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    x = picture(13, 13)
    np.testing.assert_array_equal(loaded(x), loops(x, 3, 2))


def test_half_precision():
    x = picture(8, 8).astype("float16")
    found = CeilMaxPooling2D(3, 2, dtype="float16")(x)
    assert found.dtype == "float16"
    np.testing.assert_array_equal(found, loops(x, 3, 2))

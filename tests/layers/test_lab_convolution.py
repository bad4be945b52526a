"""A convolution in two halves against two separate convolutions."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.layers import LabConv2D


@pytest.mark.parametrize(
    "case", [dict(padding="same"), dict(padding="valid", strides=2, use_bias=False)], ids=str
)
def test_values_and_gradients_are_those_of_two_convolutions(case):
    x = tf.random.stateless_normal([2, 9, 8, 3], [1, 2])
    layer = LabConv2D(6, 3, **case)
    layer.build(x.shape)
    kernel = layer.kernel.numpy()
    assert kernel.shape == (3, 3, 3, 6)
    assert not kernel[:, :, 1:, :3].any() and not kernel[:, :, :1, 3:].any()
    halves = [keras.layers.Conv2D(3, 3, **case) for _ in range(2)]
    inputs = [x[..., :1], x[..., 1:]]
    for half, part, weights in zip(
        halves, inputs, (kernel[:, :, :1, :3], kernel[:, :, 1:, 3:]), strict=True
    ):
        half.build(part.shape)
        half.kernel.assign(weights)
    direction = tf.random.stateless_normal(layer(x).shape, [3, 4])
    with tf.GradientTape(persistent=True) as tape:
        ours = layer(x)
        theirs = tf.concat([half(part) for half, part in zip(halves, inputs, strict=True)], -1)
        ours_sum, theirs_sum = tf.reduce_sum(ours * direction), tf.reduce_sum(theirs * direction)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    gradient = tape.gradient(ours_sum, layer.kernel.value).numpy()
    first, second = (tape.gradient(theirs_sum, half.kernel.value).numpy() for half in halves)
    np.testing.assert_allclose(gradient[:, :, :1, :3], first, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(gradient[:, :, 1:, 3:], second, rtol=1e-4, atol=1e-4)
    assert not gradient[:, :, 1:, :3].any() and not gradient[:, :, :1, 3:].any()


def test_weights_across_the_halves_count_for_nothing():
    layer = LabConv2D(4, 1, use_bias=False)
    layer.build([None, None, None, 3])
    layer.kernel.assign(tf.ones_like(layer.kernel))
    assert layer(np.array([[[[1.0, 10.0, 100.0]]]], "float32")).numpy().ravel().tolist() == [
        1,
        1,
        110,
        110,
    ]

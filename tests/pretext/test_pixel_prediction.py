"""Cells of a grid, and the head."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.models import VGG16, AlexNet
from ccssl_tf.pretext.pixel_prediction import (
    area_average,
    averaging_matrix,
    last_convolution,
    pixel_head,
)


@pytest.mark.parametrize("size, cells", [(64, 8), (227, 13), (10, 4), (5, 5), (7, 1), (3, 5)])
def test_cells_are_those_of_a_fine_grid(size, cells):
    line = np.random.default_rng(0).normal(size=size)
    fine = np.repeat(line, cells).reshape(cells, size).mean(1)
    np.testing.assert_allclose(averaging_matrix(size, cells) @ line, fine, rtol=1e-5, atol=1e-6)


def test_area_average_of_a_map():
    images = np.random.default_rng(0).normal(size=[2, 6, 4, 3]).astype("float32")
    blocks = images.reshape(2, 3, 2, 2, 2, 3).mean((2, 4))
    np.testing.assert_allclose(
        area_average(tf.constant(images), 3, 2), blocks, rtol=1e-5, atol=1e-6
    )


def test_last_convolutions():
    assert last_convolution(AlexNet(width_multiplier=0.1, fc_units=())) == "conv5"
    assert last_convolution(VGG16(width_multiplier=0.1, fc_units=())) == "conv5_3"


@pytest.mark.parametrize(
    "small, parameters",
    [(True, 4 * 9 * 8 + 4 * 8 + 8 * 5 + 5), (False, 4 * 36 * 8 + 64 + 2 * 4 * 8 + 8 * 5 + 5)],
)
def test_the_head_keeps_places_and_learns(small, parameters):
    maps = keras.Input([7, 6, 4])
    model = keras.Model(maps, pixel_head(maps, 5, 8, small, "x"))
    assert model.count_params() == parameters
    with tf.GradientTape() as tape:
        logits = model(tf.random.stateless_normal([2, 7, 6, 4], [0, 1]), training=True)
        loss = tf.reduce_sum(logits**2)
    assert logits.shape == (2, 7, 6, 5)
    assert all(
        np.any(gradient != 0)
        for gradient in tape.gradient(loss, [weight.value for weight in model.trainable_weights])
    )

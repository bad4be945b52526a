"""Stages of somebody else's models, and how their layers are copied."""

import keras
import numpy as np
import pytest

from ccssl_tf.layers import PerExampleDropout
from ccssl_tf.models.staged_network import StagedNetwork, check_colors, stages_of
from ccssl_tf.runs.errors import InputError

layers = keras.layers


def residual():
    """Two resolutions: a residual block, a pool, a dropped map and one more convolution.

    All pass by the end of the block.
    """
    images = keras.Input([16, 16, 3])
    x = layers.Conv2D(4, 3, padding="same", name="first")(images)
    x = layers.Add(name="block")([x, layers.Conv2D(4, 3, padding="same", name="branch")(x)])
    x = layers.Dropout(0.5, name="dropped")(layers.MaxPooling2D(name="pool")(x))
    x = layers.BatchNormalization(name="norm")(
        layers.Conv2D(6, 3, padding="same", name="second")(x)
    )
    x = layers.SpatialDropout2D(0.2, name="whole_maps")(x)
    x = layers.Dropout(0.2, name="pooled_again")(layers.AveragePooling2D(2, name="last_pool")(x))
    return keras.Model(images, layers.Dense(2, name="classes")(layers.GlobalAveragePooling2D()(x)))


def test_a_stage_ends_with_what_all_pass_by_where_something_learns():
    stages = stages_of(residual(), "net")
    ends = {name: tensor._keras_history.operation.name for name, tensor in stages.output.items()}
    # What is dropped from the last pool is nothing more than the stage before.
    assert ends == dict(conv1="block", conv2="whole_maps")
    assert "classes" not in [layer.name for layer in stages.layers]


def test_without_maps_there_are_no_stages():
    images = keras.Input([16, 16, 3])
    with pytest.raises(InputError, match="net.keras: has no convolutional maps"):
        stages_of(keras.Model(images, layers.Dense(3)(layers.Flatten()(images))), "net.keras")


def test_normalisation_and_dropout_become_those_of_our_networks():
    network = StagedNetwork(
        stages_of(residual(), "net"), side=None, name="net", colors="rgb", avg_pool=True
    )
    assert network.endpoint_names == ["conv1", "conv2", "avg_pool"] and network.input_shape == (
        None,
        None,
        None,
        3,
    )
    norm = network.get_layer("norm")
    assert norm.momentum == 0.9 and norm.synchronized and norm.epsilon == 1e-3
    assert type(network.get_layer("dropped")) is PerExampleDropout
    assert type(network.get_layer("whole_maps")) is layers.SpatialDropout2D
    assert network.weight_shapes()["normalization"] == "batch_norm"
    assert network.weight_shapes()["kernels"]["second"] == [[3, 3, 4, 6], [6]]


def test_sizes():
    network = StagedNetwork(
        stages_of(residual(), "net"), side=16, name="net", colors="rgb", avg_pool=False
    )
    network.check_size(16)
    for refused in (lambda: network.check_size(32), lambda: network(keras.Input([32, 32, 3]))):
        with pytest.raises(
            InputError, match="net: takes images of 16 pixels, not 32; give --image_size=16"
        ):
            refused()


def test_copies_are_of_the_precision_asked_for():
    template = stages_of(residual(), "net")
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = StagedNetwork(template, side=None, name="net", colors="rgb", avg_pool=False)
    finally:
        keras.config.set_dtype_policy("float32")
    assert (
        network.get_layer("first").compute_dtype == "bfloat16"
        and network.get_layer("first").kernel.dtype == "float32"
    )


def test_colours():
    check_colors("net", "gray")
    for colors, message in (
        ("lab_halves", "net: cannot be split into two halves by colour"),
        ("green", "colors: must be rgb or gray"),
    ):
        with pytest.raises(InputError, match=message):
            check_colors("net", colors)
    network = StagedNetwork(
        stages_of(residual(), "net"), side=None, name="net", colors="gray", avg_pool=False
    )
    white = network.seen(np.full([1, 2, 2, 3], 255, np.uint8))
    np.testing.assert_allclose(white, 255, atol=0.1)

"""VGG16 against keras.applications."""

import keras
import numpy as np
import pytest

from ccssl_tf.models import VGG16

CHANNELS = dict(conv1=64, conv2=128, conv3=256, conv4=512, conv5=512)
DEPTHS = dict(conv1=2, conv2=2, conv3=3, conv4=3, conv5=3)


def test_endpoints_and_parameters_at_224():
    network = VGG16()
    expected = {
        f"{block}_{number}": (side, side, CHANNELS[block])
        for block, side in zip(DEPTHS, (224, 112, 56, 28, 14), strict=True)
        for number in range(1, DEPTHS[block] + 1)
    }
    expected |= dict(pool5=(7, 7, 512), fc6=(4096,), fc7=(4096,))
    assert {name: tuple(tensor.shape[1:]) for name, tensor in network.output.items()} == expected
    assert network.endpoint_names == list(expected)
    # The published 138,357,544 less the 1000 classes' 4,097,000.
    assert (
        sum(weight.value.shape.num_elements() for weight in network.trainable_weights)
        == 134_260_544
    )


def test_values_are_those_of_keras_applications():
    keras.utils.set_random_seed(0)
    theirs = keras.applications.VGG16(weights=None, include_top=False, input_shape=(64, 64, 3))
    ours = VGG16(fc_units=())
    names = {}
    for block, depth in enumerate(DEPTHS.values(), 1):
        for number in range(1, depth + 1):
            layer = theirs.get_layer(f"block{block}_conv{number}")
            layer.bias.assign(keras.random.normal(layer.bias.shape))
            names[f"conv{block}_{number}"] = layer.name
            ours.get_layer(f"conv{block}_{number}").set_weights(layer.get_weights())
    names["pool5"] = "block5_pool"
    images = np.random.default_rng(0).normal(size=[2, 64, 64, 3]).astype("float32") * 50
    expected = keras.Model(
        theirs.input, {name: theirs.get_layer(layer).output for name, layer in names.items()}
    )(images)
    found = ours(images)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(
            found[name], value, rtol=1e-3, atol=1e-5 * np.abs(value).max(), err_msg=name
        )


@pytest.mark.parametrize(
    ("size", "sides"),
    [(64, (64, 32, 16, 8, 4, 2)), (16, (16, 8, 4, 2, 2, 2)), (8, (8, 4, 2, 2, 2, 2))],
)
def test_small_images_keep_maps_of_two(size, sides):
    network = VGG16(width_multiplier=0.1, fc_units=(), normalization="batch_norm")
    shapes = [
        tensor.shape[1]
        for name, tensor in network(np.zeros([1, size, size, 3], "float32")).items()
        if name.endswith(("_1", "pool5"))
    ]
    assert tuple(shapes) == sides

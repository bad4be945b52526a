import keras
import numpy as np
import pytest

from ccssl_tf.models.outputs import network_until, shortened
from ccssl_tf.runs.errors import InputError


@pytest.fixture(scope="module")
def network():
    images = keras.Input([8, 8, 3], name="images")
    maps = keras.layers.Conv2D(4, 3, name="maps")(images)
    mean = keras.layers.GlobalAveragePooling2D(name="averaged")(maps)
    return keras.Model(images, dict(maps=maps, mean=mean))


def test_outputs_and_layers_by_name(network):
    images = np.ones([2, 8, 8, 3], np.float32)
    for name, output in dict(maps="maps", mean="mean", averaged="mean").items():
        part = network_until(network, name, "endpoint")
        np.testing.assert_array_equal(part(images), network(images)[output])
    single = keras.Model(network.inputs, network.output["mean"])
    np.testing.assert_array_equal(
        network_until(single, "maps", "endpoint")(images), network(images)["maps"]
    )


def test_an_unknown_name_is_refused_with_those_there_are(network):
    with pytest.raises(
        InputError,
        match="^--output=conv9: this network has ma.*, and the layers images, maps, averaged$",
    ):
        network_until(network, "conv9", "output")


def test_long_lists_are_shortened_in_the_middle():
    assert shortened("abc") == "a, b, c"
    assert shortened(map(str, range(9)), 4) == "0, 1, ... 5 more ..., 7, 8"

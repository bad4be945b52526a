import keras
import numpy as np
import pytest

from ccssl_tf.features.opened_model import inference, only_output
from ccssl_tf.runs.errors import InputError


def test_networks_are_called_in_inference_mode():
    images = keras.Input([4])
    network = keras.Model(images, keras.layers.Dropout(0.9)(images))
    np.testing.assert_array_equal(inference(network)(np.ones([3, 4])), np.ones([3, 4]))


def test_the_one_output_is_chosen_and_several_are_named():
    assert only_output(["a"], "net.keras") == "a"
    with pytest.raises(
        InputError, match="^--model=net.keras: has several outputs; choose one: --output=a, b$"
    ):
        only_output(["a", "b"], "net.keras")

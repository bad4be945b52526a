"""What networks take for pixels: Keras's own conventions, the flags, and the images they take."""

import keras
import numpy as np
import pytest

from ccssl_tf.models.input_convention import (
    InputConvention,
    InputConventionSettings,
    image_side,
)
from ccssl_tf.runs.errors import FlagError, InputError

PIXELS = np.random.default_rng(0).integers(0, 256, [2, 8, 8, 3]).astype(np.uint8)


def test_input_conventions():
    x = PIXELS.astype(np.float64)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    torch = dict(range=(0, 1), mean=mean, std=std)
    caffe = dict(range=(0, 255), mean=(123.68, 116.779, 103.939), channels="BGR")
    for options, module in (
        (torch, "densenet"),
        (caffe, "vgg16"),
        (dict(range=(-1, 1)), "mobilenet_v2"),
    ):
        expected = getattr(keras.applications, module).preprocess_input(x.copy())
        np.testing.assert_allclose(
            InputConvention(**options)(PIXELS), expected, rtol=1e-4, atol=1e-4, err_msg=module
        )
    np.testing.assert_array_equal(InputConvention((0, 255))(PIXELS), PIXELS)


@pytest.mark.parametrize(
    "values, message",
    [
        (dict(input_range=(0.0,)), "^--input_range=0.0: expected 2 numbers"),
        (dict(input_range=("a", "b")), "^--input_range=a,b: expected float"),
        (dict(input_range=(0, np.inf)), r"^--input_range=0,inf: must be 1e\+06 or less"),
        (dict(input_range=(1, 0)), "^--input_range: black must be less than white"),
        (dict(input_range=(0, 1), input_std=(1, 0, 1)), "every --input_std above 0"),
        (dict(input_mean=(1, 2, 3)), "^--input_mean, .* go with --input_range"),
    ],
)
def test_settings_that_cannot_be_right(values, message):
    with pytest.raises(FlagError, match=message):
        InputConventionSettings(**values)


def test_what_the_settings_say():
    assert InputConventionSettings().convention() is None
    settings = InputConventionSettings(
        input_range=(-1, 1), input_std=(1, 2, 3), input_channels="BGR"
    )
    assert settings.convention() == InputConvention((-1, 1), std=(1, 2, 3), channels="BGR")


def test_square_colour_images_are_taken():
    assert image_side("a", (None, 8, 8, 3)) == 8 and image_side("a", (None, None, None, 3)) is None
    for shape in ((None, 8, 8, 1), (None, 3, 8, 8), (None, 8, 9, 3), (None, 8)):
        with pytest.raises(InputError, match=r"^a: takes \[None, .*; square RGB images"):
            image_side("a", shape)

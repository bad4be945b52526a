"""A model of models gives, layer by layer, what it gives as a whole."""

import keras
import numpy as np

from ccssl_tf.models.dissolving import dissolve


def test_models_in_models_are_called_layer_by_layer():
    images = keras.Input([8, 8, 3])
    twins = keras.layers.Conv2D(4, 3, padding="same", name="conv")(images)
    inner = keras.Model(images, dict(conv=twins, sum=twins + 1.0))
    sequential = keras.Sequential([keras.layers.ReLU(name="relu"), keras.layers.Flatten(name="f")])
    maps = inner(images)
    outer = keras.Model(images, dict(maps, flat=sequential(maps["sum"])))
    called = []

    def call(layer, *arguments, **options):
        called.append(layer.name)
        return layer(*arguments, **options)

    again = keras.Input([8, 8, 3])
    flat = keras.Model(again, dissolve(outer, again, call))
    assert called[0] == "conv" and called[-2:] == ["relu", "f"] and len(called) == 4
    assert not [layer for layer in flat.layers if isinstance(layer, keras.Model)]
    pixels = np.random.default_rng(0).normal(size=[2, 8, 8, 3]).astype("float32")
    for name, value in outer(pixels).items():
        np.testing.assert_array_equal(flat(pixels)[name], value)

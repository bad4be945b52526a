"""A network of Keras's own layers gives the outputs of ours, and loads where ours are not."""

import json
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest

from ccssl_tf.models import VGG16, AlexNet, Application
from ccssl_tf.models.fcn import build_fcn
from ccssl_tf.models.plain_network import plain_network
from ccssl_tf.runs.errors import InputError

STANDARD = dict(width_multiplier=0.1, fc_units=(16, 12), image_size=99)
SMALL = dict(stem="small", width_multiplier=0.1, fc_units=())
NETWORKS = {
    "caffenet": lambda: AlexNet(**STANDARD),
    "bvlc": lambda: AlexNet(order="bvlc", is_padded=True, **STANDARD),
    "gray": lambda: AlexNet(colors="gray", **SMALL),
    "halves": lambda: AlexNet(colors="lab_halves", normalization="batch_norm", **SMALL),
    "vgg16": lambda: VGG16(width_multiplier=0.1, fc_units=()),
    "mobilenet": lambda: Application(
        network="MobileNet", width_multiplier=0.25, avg_pool=True, colors="gray"
    ),
}
LOAD = """
import sys, keras, numpy
for name in sys.argv[1:]:
    model = keras.saving.load_model(f"{name}.keras")
    outputs = model(numpy.load("pixels.npz")[name])
    numpy.savez(f"{name}.npz", **{key: numpy.asarray(value) for key, value in outputs.items()})
assert not [name for name in sys.modules if name.startswith("ccssl_tf")]
"""


def from_images(backbone, side, model=None):
    images = keras.Input([side, side, 3], name="images")
    return keras.Model(images, (model or backbone)(backbone.normalize(images), training=False))


def test_every_network_loads_without_this_project(tmp_path):
    pixels, expected, random = {}, {}, np.random.default_rng(0)
    for name, build in NETWORKS.items():
        backbone = build()
        for weight in backbone.weights:
            if "moving" in weight.path:
                weight.assign(random.uniform(0.5, 1.5, weight.shape))
        side = backbone.input_shape[1] or 32
        pixels[name] = random.integers(0, 256, [2, side, side, 3]).astype("float32")
        expected[name] = backbone(backbone.normalize(pixels[name]), training=False)
        plain_network(from_images(backbone, side)).save(tmp_path / f"{name}.keras")
    np.savez(tmp_path / "pixels.npz", **pixels)
    subprocess.run(
        [sys.executable, "-c", LOAD, *NETWORKS], cwd=tmp_path, env={"PATH": ""}, check=True
    )
    for name, outputs in expected.items():
        found = np.load(tmp_path / f"{name}.npz")
        assert set(found) == set(outputs)
        for key, value in outputs.items():
            scale = np.abs(value).max()
            np.testing.assert_allclose(
                found[key], value, rtol=1e-4, atol=1e-5 * scale, err_msg=f"{name} {key}"
            )


def test_a_segmenter_too():
    backbone = AlexNet(**SMALL)
    segmenter = build_fcn(backbone, 4, fc_units=(8, 8))
    kernel = segmenter.get_layer("score").kernel
    kernel.assign(np.random.default_rng(0).normal(size=kernel.shape))
    plain = plain_network(from_images(backbone, 48, segmenter))
    pixels = np.random.default_rng(1).integers(0, 256, [2, 48, 48, 3]).astype("float32")
    expected = segmenter(backbone.normalize(pixels), training=False)["logits"]
    np.testing.assert_allclose(plain(pixels)["logits"], expected, rtol=1e-4, atol=1e-5)


def test_layers_and_operations_have_the_same_names_every_time(tmp_path):
    configs = []
    for _ in range(2):
        model = plain_network(from_images(AlexNet(**STANDARD), 99))
        model.save(tmp_path / "a.keras")
        with zipfile.ZipFile(tmp_path / "a.keras") as archive:
            configs.append(json.loads(archive.read("config.json")))
    names = [[layer["name"] for layer in config["config"]["layers"]] for config in configs]
    assert names[0] == names[1]
    assert {"conv1", "conv2", "conv2_group1", "conv5_relu", "fc7_dropout"} <= set(names[0])


def test_it_can_be_trained():
    plain = plain_network(from_images(AlexNet(**STANDARD), 99))
    assert len(plain.trainable_weights) == 2 * (5 + 3 + 2)
    assert [type(layer) for layer in plain.layers if "dropout" in layer.name] == (
        [keras.layers.Dropout] * 2
    )


def test_batch_normalisation_is_that_of_every_keras_backend():
    plain = plain_network(from_images(AlexNet(normalization="batch_norm", **SMALL), 32))
    norms = [layer for layer in plain.layers if layer.name.endswith("_norm")]
    assert len(norms) == 5 and not any(layer.synchronized for layer in norms)


def test_a_layer_with_weights_that_keras_lacks_is_refused():
    class Scale(keras.layers.Layer):
        def build(self, shape):
            self.scale = self.add_weight(shape=(1,), name="scale")

        def call(self, inputs):
            return inputs * self.scale

    images = keras.Input([8, 8, 3])
    model = keras.Model(images, dict(scaled=Scale(name="mine")(images)))
    with pytest.raises(InputError, match="mine: a Scale cannot be made of Keras's own layers"):
        plain_network(model)

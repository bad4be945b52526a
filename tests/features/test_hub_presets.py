"""Presets of KerasHub, from directories as it saves them."""

import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.features.external_model import ExternalModelExtractor
from ccssl_tf.features.hub_presets import open_preset
from ccssl_tf.runs.errors import InputError

keras_hub = pytest.importorskip(
    "keras_hub", reason="KerasHub is not installed: pip install -e '.[hub]'"
)


ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def network():
    return keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 8],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
        image_shape=(None, None, 3),
    )


@pytest.fixture(scope="module")
def preset(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("preset")
    network.save_to_preset(str(path))
    converter = keras_hub.layers.ResNetImageConverter(
        image_size=(40, 40), scale=[1 / 50, 1 / 60, 1 / 70], offset=[-2.0, -1.0, 0.5]
    )
    converter.save_to_preset(str(path))
    network.save_weights(str(path.parent / "own.weights.h5"))
    return path


def opened(preset, **options):
    return open_preset(f"keras_hub:{preset}", **dict(dict(output=None, weights=None), **options))


def images(count=2):
    return np.random.default_rng(3).integers(0, 256, [count, 40, 40, 3], np.uint8)


def test_a_preset_brings_weights_and_preprocessing(network, preset):
    found = opened(preset)
    assert (found.kind, found.image_size, found.usual_size, found.files) == (
        "keras_hub",
        None,
        40,
        dict(model=str(preset)),
    )
    theirs = keras_hub.layers.ImageConverter.from_preset(str(preset))(images().astype(np.float32))
    np.testing.assert_allclose(found.normalize(images()), theirs, atol=1e-5)
    np.testing.assert_allclose(
        found.call(found.normalize(images())), network(theirs, training=False), atol=1e-4
    )


def test_it_is_a_teacher(network, preset):
    fields = dict(model="keras_hub:preset", pooling="max", batch_size=2)
    extractor = ExternalModelExtractor(opened(preset), **fields)
    assert extractor.settings.image_size == 40
    rows = extractor.rows(tf.constant(images()))
    maps = network(opened(preset).normalize(images()), training=False).numpy()
    np.testing.assert_allclose(rows, maps.max((1, 2)), atol=1e-4)
    with pytest.raises(InputError, match="brings its own preprocessing"):
        ExternalModelExtractor(opened(preset), **fields, input_range=(0, 1))


def test_layers_by_name_and_weights_by_file(network, preset):
    layer = next(
        layer.name for layer in network.layers if "stack0" in layer.name and "conv" in layer.name
    )
    pixels = np.float32(images()) / 255
    assert opened(preset, output=layer).call(pixels).shape[-1] == 64
    own, random = (
        opened(preset, weights=str(preset.parent / "own.weights.h5")),
        opened(preset, weights="random"),
    )
    assert own.digest == opened(preset).digest != random.digest
    np.testing.assert_array_equal(own.call(pixels), opened(preset).call(pixels))
    assert np.abs(own.call(pixels) - random.call(pixels)).max() > 1e-3


def test_a_preset_without_preprocessing_asks_for_it(network, tmp_path):
    network.save_to_preset(str(tmp_path))
    without = opened(tmp_path)
    assert without.normalize is None and without.usual_size is None
    with pytest.raises(InputError, match="say what it takes pixels for"):
        ExternalModelExtractor(without, model="keras_hub:x", image_size=32)


@pytest.mark.parametrize("damage", ["no such preset", "no weights", "foreign class", "text"])
def test_what_cannot_be_opened_is_refused_in_one_line(damage, network, tmp_path):
    path = tmp_path / "preset"
    if damage != "no such preset":
        network.save_to_preset(str(path))
    config = path / "config.json"
    if damage == "no weights":
        (path / "model.weights.h5").unlink()
    elif damage == "foreign class":
        content = json.loads(config.read_text())
        config.write_text(
            json.dumps(content | dict(module="os", class_name="system", registered_name="system"))
        )
    elif damage == "text":
        text = keras_hub.models.BertBackbone(
            vocabulary_size=9,
            num_layers=1,
            num_heads=1,
            hidden_dim=4,
            intermediate_dim=4,
            max_sequence_length=5,
        )
        text.save_to_preset(str(path))
    with pytest.raises(
        InputError,
        match=f"--model=keras_hub:{path}: (cannot be opened|takes .*; a network of images)",
    ) as raised:
        opened(path)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 500


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (
            "ImportError(\"cannot import name 'x' from 'keras'\\nmore\")",
            "beside Keras .*ImportError",
        ),
        ("AttributeError('no ops')", "beside Keras .*AttributeError: no ops"),
        ("ModuleNotFoundError('no y', name='y')", "beside Keras .*ModuleNotFoundError: no y"),
        ("ModuleNotFoundError('absent', name='keras_hub')", "needs KerasHub: pip install"),
    ],
)
def test_a_hub_that_cannot_be_imported_is_one_line(tmp_path, raised, said):
    (tmp_path / "keras_hub.py").write_text(f"raise {raised}")
    program = (
        "from ccssl_tf.features.hub_presets import open_preset\n"
        "from ccssl_tf.runs.errors import InputError\n"
        "try:\n    open_preset('keras_hub:x', None, None)\n"
        "except InputError as error:\n    print(repr(str(error)))\n"
    )
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    output = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert re.search(f"--model=keras_hub:x: .*{said}", output) and "\\n" not in output

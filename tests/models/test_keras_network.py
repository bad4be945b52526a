"""Keras models of others as backbones: the same functions as in their files, at any size.

What they take for a pixel goes with them.
"""

import json

import keras
import numpy as np
import pytest

from ccssl_tf.models import AlexNet, KerasNetwork, load_backbone, save_backbone
from ccssl_tf.models.backbone import copy_convolutions
from ccssl_tf.models.backbone_file import backbone_fingerprint, save_model
from ccssl_tf.models.heads import build_classifier
from ccssl_tf.models.input_convention import InputConvention
from ccssl_tf.models.keras_network import load_network
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.runs.files import file_sha256

layers = keras.layers
CONVENTION = InputConvention(
    (0, 1), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), channels="BGR"
)


def pixels(size=32, count=2):
    return np.random.default_rng(0).integers(0, 256, [count, size, size, 3]).astype(np.uint8)


def plain(size=32, channels=4):
    """Two stages, a dropped pool, ten classes."""
    images = keras.Input([size, size, 3])
    x = images
    for number in (1, 2):
        x = layers.Conv2D(channels * number, 3, padding="same", name=f"maps{number}")(x)
        x = layers.ReLU(name=f"end{number}")(layers.BatchNormalization(name=f"norm{number}")(x))
        x = layers.MaxPooling2D()(x)
    return keras.Model(
        images, layers.Dense(10)(layers.GlobalAveragePooling2D()(layers.Dropout(0.5)(x)))
    )


def sequential():
    parts = [
        layers.Rescaling(1 / 255),
        layers.Conv2D(4, 3, activation="relu", name="end1"),
        layers.MaxPooling2D(),
    ]
    return keras.Sequential(
        [
            keras.Input([32, 32, 3]),
            *parts,
            layers.Conv2D(4, 3, name="end2"),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )


def transfer():
    """As it is often written: augmentation, a frozen network called as one layer, a new head."""
    images = keras.Input([32, 32, 3])
    base = keras.models.clone_model(plain())
    base = keras.Model(base.input, base.get_layer("end2").output)
    base.trainable = False
    x = keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.5)])(images)
    return keras.Model(
        images, layers.Dense(2)(layers.GlobalAveragePooling2D()(base(x, training=False)))
    )


def operations():
    """Operators between layers, scaling learned from data, and a layer that needs its size."""
    images = keras.Input([32, 32, 3])
    scaling = layers.Normalization()
    scaling.adapt(np.random.default_rng(1).uniform(size=[8, 32, 32, 3]))
    x = layers.Conv2D(4, 3, padding="same")(scaling(images))
    x = (keras.ops.relu(x) * 2.0 + x)[:, ::2, ::2]
    x = layers.Reshape([16, 16, 4])(layers.Reshape([16 * 16 * 4])(x))
    return keras.Model(images, layers.Conv2D(4, 3, name="end2")(x))


def with_statistics(model, seed=3):
    """Gives normalisation statistics that a training would, so that losing them would show."""
    random = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            with_statistics(layer)
        elif isinstance(layer, layers.BatchNormalization):
            layer.set_weights(
                [random.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()]
            )
    return model


def saved(model, directory, convention=CONVENTION):
    with_statistics(model).save(directory / "(my) nét.keras")
    return load_network(directory / "(my) nét.keras", convention)


def last_map(model):
    """The map `end2` in a model or in the one it calls."""
    inner = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    having = next(
        part for part in (model, *inner) if "end2" in [layer.name for layer in part.layers]
    )
    return keras.Model(having.inputs, having.get_layer("end2").output)


@pytest.mark.parametrize("build", [plain, sequential, transfer, operations])
def test_endpoints_are_what_the_file_computes_and_travel_in_ours(build, tmp_path):
    theirs = build()
    backbone = saved(theirs, tmp_path)
    assert backbone.endpoint_names[:2] == ["conv1", "conv2"] and backbone.name == "my_n_t"
    expected = last_map(theirs)(CONVENTION(pixels()), training=False)
    found = backbone(backbone.normalize(pixels()), training=False)
    np.testing.assert_allclose(found[backbone.endpoint_names[-1]], expected, rtol=1e-5, atol=1e-6)
    assert all(layer.trainable for layer in backbone.layers)
    again = load_network(tmp_path / "(my) nét.keras", CONVENTION)
    assert backbone_fingerprint(again) == backbone_fingerprint(backbone)
    told = dict(
        file=str(tmp_path / "(my) nét.keras"),
        sha256=file_sha256(tmp_path / "(my) nét.keras"),
        importer="keras",
    )
    assert backbone.weights_from == told

    fingerprint = save_backbone(backbone, tmp_path)
    loaded = load_backbone(tmp_path)
    assert type(loaded) is KerasNetwork and backbone_fingerprint(loaded) == fingerprint
    assert (
        loaded.get_config() == backbone.get_config() and loaded.weights_from["weights_from"] == told
    )
    for name, value in loaded(loaded.normalize(pixels()), training=False).items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert (
        json.loads((tmp_path / "backbone.json").read_text())["input"]["as_the_network_takes_it"][
            "channels"
        ]
        == "BGR"
    )


def test_images_of_other_sizes(tmp_path):
    assert saved(plain(), tmp_path).compute_output_shape((1, 64, 64, 3))["conv2"] == (1, 32, 32, 8)
    fixed = saved(operations(), tmp_path)
    assert fixed.input_shape == (None, 32, 32, 3)
    with pytest.raises(
        InputError, match="my_n_t: takes images of 32 pixels, not 64; give --image_size=32"
    ):
        fixed.check_size(64)


def test_a_classifier_and_grey_images(tmp_path):
    config = saved(plain(), tmp_path).get_config()
    backbone = KerasNetwork.from_settings(
        KerasNetwork.Settings(), config=config, image_size=32, with_fc=True, colors="gray"
    )
    assert backbone.endpoint_names[-1] == "avg_pool"
    assert build_classifier(backbone, 5, 32)(backbone.normalize(pixels()))["logits"].shape == (2, 5)
    white = backbone.normalize(np.full([1, 2, 2, 3], 255, np.uint8))
    np.testing.assert_allclose(white, CONVENTION(np.full([1, 2, 2, 3], 255)), atol=1e-2)
    with pytest.raises(InputError, match="cannot be split"):
        KerasNetwork.from_settings(
            KerasNetwork.Settings(), config=config, image_size=32, colors="lab_halves"
        )


def test_weights_are_copied_between_equal_networks_only(tmp_path):
    source = saved(plain(), tmp_path)
    target = KerasNetwork(**dict(source.get_config(), avg_pool=True))
    assert target.weights_from is None
    copy_convolutions(source, target, "a")
    assert backbone_fingerprint(target) == backbone_fingerprint(source)
    with pytest.raises(InputError, match="a: another architecture: kernel of maps1 is"):
        copy_convolutions(saved(plain(channels=8), tmp_path), target, "a")
    with pytest.raises(InputError, match="a: another architecture: input is"):
        copy_convolutions(saved(plain(), tmp_path, InputConvention((0, 1))), target, "a")


def test_what_it_takes_pixels_for_must_be_said(tmp_path):
    plain().save(tmp_path / "net.keras")
    with pytest.raises(
        InputError,
        match="net.keras: holds a Functional that is none of this project's; say "
        ".*--input_range=0,255, 0,1 or",
    ):
        load_network(tmp_path / "net.keras", None)
    ours = AlexNet(stem="small", normalization="none", width_multiplier=0.05, fc_units=())
    save_backbone(ours, tmp_path)
    for convention in (None, CONVENTION):
        assert type(load_network(tmp_path, convention)) is AlexNet
    save_model(build_classifier(ours, 2, 32), tmp_path / "classifier.keras")
    with pytest.raises(
        InputError,
        match="classifier.keras: holds a classifier of this project; name the backbone.keras",
    ):
        load_network(tmp_path / "classifier.keras", CONVENTION)


def two_inputs():
    left, right = keras.Input([32, 32, 3]), keras.Input([32, 32, 3])
    return keras.Model([left, right], layers.Conv2D(2, 3)(left + right))


@pytest.mark.parametrize(
    "build, message",
    [
        (
            lambda: keras.Sequential([keras.Input([32, 32, 3]), layers.Flatten(), layers.Dense(2)]),
            "has no convolutional maps",
        ),
        (
            lambda: keras.Sequential([keras.Input([32, 32, 1]), layers.Conv2D(2, 3)]),
            r"takes \[None, 32, 32, 1\] \(1 channels\)",
        ),
        (
            lambda: keras.Sequential([keras.Input([4]), layers.Dense(2)]),
            r"takes \[None, 4\]; square RGB images",
        ),
        (
            two_inputs,
            "a Functional whose layers cannot be read; a Functional or Sequential one with one "
            "input is needed",
        ),
        (
            lambda: keras.Sequential([keras.Input([32, 32, 3]), layers.Lambda(lambda x: x)]),
            "holds a Lambda, which is a program",
        ),
    ],
)
def test_models_that_cannot_be_are_refused_in_one_line(build, message, tmp_path):
    build().save(tmp_path / "net.keras")
    with pytest.raises(InputError, match=f"net.keras: {message}") as error:
        load_network(tmp_path / "net.keras", CONVENTION)
    assert "\n" not in str(error.value) and not isinstance(error.value, FlagError)

"""The network that a run starts from: a new one, that of a file, or somebody else's."""

import keras
import numpy as np
import pytest

from ccssl_tf.models import VGG16, AlexNet, Application, save_backbone
from ccssl_tf.models.alexnet import AlexNetSettings
from ccssl_tf.models.applications import ApplicationSettings
from ccssl_tf.models.backbone_file import backbone_fingerprint
from ccssl_tf.models.input_convention import InputConventionSettings
from ccssl_tf.models.keras_network import KerasNetwork
from ccssl_tf.models.start import (
    NetworkSettings,
    Start,
    backbone_kind,
    settings_classes,
    start_path,
)
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.runs.values import Values, read

KINDS = dict(alexnet=AlexNet, vgg16=VGG16)
NARROW = AlexNetSettings(width_multiplier=0.1)
ZERO_TO_ONE = InputConventionSettings(input_range=(0.0, 1.0))


def start(*architectures, image_size=64, convention=None, **network):
    return Start(
        KINDS,
        NetworkSettings(**network),
        architectures,
        image_size=image_size,
        convention=convention,
    )


@pytest.fixture
def foreign(tmp_path):
    """Path of somebody else's Keras model: two stages and classes."""
    images = keras.Input([32, 32, 3])
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", name="first")(images)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    x = keras.layers.Dropout(0.5)(keras.layers.GlobalAveragePooling2D()(x))
    keras.Model(images, keras.layers.Dense(3)(x)).save(tmp_path / "net.keras")
    return str(tmp_path / "net.keras")


def read_values(arguments):
    """Returns the settings of a command whose only flags are those of its network."""
    words = dict(argument.removeprefix("--").split("=", 1) for argument in arguments)
    selected = {name: words.get(name) for name in ("backbone", "init_backbone")}
    return read(settings_classes(KINDS, selected), arguments)


def resolved(arguments, image_size=32):
    """Returns the network that flags name, and the settings that ran as lines of a flagfile."""
    values = read_values(arguments)
    network = Start.from_values(KINDS, values, image_size=image_size)
    backbone = network.build()
    lines = network.resolved(values, backbone).lines()
    return backbone, [line for of_one in lines.values() for line in of_one]


def test_names_are_looked_up_among_ours_and_in_keras_applications():
    assert backbone_kind(KINDS, "vgg16") == (VGG16, {})
    assert backbone_kind(KINDS, "VGG16") == (Application, dict(network="VGG16"))
    with pytest.raises(
        FlagError,
        match="^--backbone=resnet50: unknown; there are alexnet, vgg16 and those of "
        "keras.applications, .*ResNet50",
    ):
        backbone_kind(KINDS, "resnet50")
    with pytest.raises(
        FlagError, match="^--backbone=keras: is what --init_backbone=FILE.keras holds"
    ):
        start(backbone="keras").build()


def test_a_run_that_names_no_network_has_the_first_one():
    assert start(NARROW).build().name == "alexnet"
    assert settings_classes(KINDS, dict(backbone=None, init_backbone=None)) == [
        NetworkSettings,
        InputConventionSettings,
        AlexNetSettings,
    ]


def test_the_word_random_is_no_file():
    assert start_path("random") is start_path(None) is None and start_path("a") == "a"
    assert NetworkSettings(init_backbone="random").path is None
    # A sweep over networks says of all of them what somebody else's takes for a pixel.
    backbone = start(NARROW, init_backbone="random", convention=ZERO_TO_ONE).build()
    assert backbone.name == "alexnet" and backbone.weights_from is None


def test_settings_are_those_of_the_network_named_or_of_every_one_a_file_may_hold():
    def architectures(backbone, init_backbone):
        selected = dict(backbone=backbone, init_backbone=init_backbone)
        common, rest = settings_classes(KINDS, selected)[:2], settings_classes(KINDS, selected)[2:]
        assert common == [NetworkSettings, InputConventionSettings]
        return rest

    assert architectures("vgg16", None) == architectures("vgg16", "run") == [VGG16.Settings]
    assert architectures("ResNet50", None) == [ApplicationSettings]
    assert architectures("keras", "net.keras") == [KerasNetwork.Settings]
    assert architectures(None, "random") == [AlexNetSettings]
    assert set(architectures(None, "run")) == {
        AlexNetSettings,
        VGG16.Settings,
        ApplicationSettings,
        KerasNetwork.Settings,
    }


def test_a_file_brings_its_architecture_and_convolutions(tmp_path):
    keras.utils.set_random_seed(4)
    source = AlexNet(width_multiplier=0.1, order="bvlc", normalization="none", fc_units=())
    save_backbone(source, tmp_path)
    network = start(init_backbone=str(tmp_path), image_size=131).build(with_fc=True)
    config = network.get_config()
    assert (config["order"], config["normalization"]) == ("bvlc", "none")
    assert config["width_multiplier"] == 0.1 and config["fc_units"] == [4096, 4096]
    for ours, theirs in zip(network.convolutions(), source.convolutions(), strict=True):
        np.testing.assert_array_equal(ours.kernel, theirs.kernel)
    assert network.weights_from["fingerprint"] == backbone_fingerprint(source)
    same = AlexNetSettings(width_multiplier=0.1, alexnet_order="bvlc", normalization="none")
    assert start(same, init_backbone=str(tmp_path), backbone="alexnet").build()


def test_stride_and_size_follow_the_settings(tmp_path):
    save_backbone(AlexNet(width_multiplier=0.1, fc_units=(), conv1_stride=2), tmp_path)
    config = start(init_backbone=str(tmp_path), image_size=131).build().get_config()
    assert config["conv1_stride"] == 4 and config["image_size"] == 131
    tiles = AlexNetSettings(conv1_stride=2)
    config = start(tiles, init_backbone=str(tmp_path), image_size=131).build().get_config()
    assert config["conv1_stride"] == 2


@pytest.mark.parametrize(
    ("settings", "flag"),
    [
        (dict(width_multiplier=0.2), "with width_multiplier 0.1; leave --width_multiplier=0.2 out"),
        (dict(normalization="lrn"), "with normalization batch_norm; leave --normalization=lrn out"),
        (dict(alexnet_order="bvlc"), "with alexnet_order caffenet; leave --alexnet_order=bvlc out"),
    ],
)
def test_what_is_said_against_the_file_is_refused(tmp_path, settings, flag):
    source = AlexNet(width_multiplier=0.1, normalization="batch_norm", fc_units=())
    save_backbone(source, tmp_path)
    with pytest.raises(InputError, match=f"another architecture, {flag}"):
        start(AlexNetSettings(**settings), init_backbone=str(tmp_path), image_size=131).build()


def test_another_network_than_the_files_is_refused(tmp_path):
    save_backbone(AlexNet(width_multiplier=0.1, fc_units=()), tmp_path)
    with pytest.raises(
        InputError, match="holds another architecture, alexnet, than --backbone=vgg16; leave one"
    ):
        start(init_backbone=str(tmp_path), backbone="vgg16").build()


def test_batch_normalisation_of_a_file_is_merged_where_none_is_asked_for(tmp_path):
    source = AlexNet(
        stem="small", width_multiplier=0.1, normalization="batch_norm", fc_units=(), image_size=32
    )
    save_backbone(source, tmp_path)
    settings = AlexNetSettings(normalization="none")
    merged = start(settings, init_backbone=str(tmp_path), image_size=32).build()
    assert merged.get_config()["normalization"] == "none"
    images = np.random.default_rng(0).normal(size=[2, 32, 32, 3]).astype(np.float32)
    np.testing.assert_allclose(
        merged(images)["conv5"], source(images, training=False)["conv5"], rtol=1e-3, atol=1e-4
    )


def test_fully_connected_layers_come_from_the_file_where_they_are_kept(tmp_path):
    source = AlexNet(width_multiplier=0.1, fc_units=(24, 16), image_size=128)
    save_backbone(source, tmp_path)
    network = start(init_backbone=str(tmp_path), image_size=128)
    kept = network.build(with_fc=True, keep_fc=True)
    np.testing.assert_array_equal(kept.get_layer("fc7").kernel, source.get_layer("fc7").kernel)
    sizes = AlexNetSettings(fc_units=(24, 16))
    fresh = start(sizes, init_backbone=str(tmp_path), image_size=128).build(with_fc=True)
    assert (fresh.get_layer("fc7").kernel != source.get_layer("fc7").kernel).numpy().any()


def test_a_network_of_keras_applications_is_started_from(tmp_path):
    backbone = Application(network="MobileNetV2", width_multiplier=0.1)
    save_backbone(backbone, tmp_path)
    arguments = [f"--init_backbone={tmp_path}"]
    started, lines = resolved(arguments, image_size=64)
    assert {"--backbone=MobileNetV2", "--width_multiplier=0.1"} < set(lines)
    assert (
        started.weights_from["fingerprint"]
        == backbone_fingerprint(backbone)
        == backbone_fingerprint(started)
    )
    with_fc = start(init_backbone=str(tmp_path)).build(with_fc=True)
    assert with_fc.endpoint_names == [*backbone.endpoint_names, "avg_pool"]


def test_a_keras_model_of_others_is_started_from(foreign):
    network = start(init_backbone=foreign, convention=ZERO_TO_ONE, image_size=32).build()
    assert isinstance(network, KerasNetwork) and network.endpoint_names == ["conv1", "conv2"]
    kernel = keras.models.load_model(foreign).get_layer("first").kernel
    np.testing.assert_array_equal(network.get_layer("first").kernel, kernel)


def test_what_keras_models_of_others_cannot_be_asked(foreign):
    def refused(message, *architectures, convention=ZERO_TO_ONE):
        with pytest.raises(InputError, match=message) as error:
            start(
                *architectures, init_backbone=foreign, convention=convention, image_size=32
            ).build()
        assert "\n" not in str(error.value)

    refused(
        "net.keras: holds a Functional that is none of this project's; say what", convention=None
    )
    refused("^--width_multiplier=0.5: net brings its own", AlexNetSettings(width_multiplier=0.5))
    refused("^--normalization=lrn: net brings its own", AlexNetSettings(normalization="lrn"))


def test_what_was_left_open_is_told_and_starts_the_same_network(foreign, tmp_path):
    run, tiles = tmp_path / "run", tmp_path / "tiles"
    source = AlexNet(width_multiplier=0.1, order="bvlc", normalization="batch_norm", fc_units=())
    run.mkdir()
    tiles.mkdir()
    save_backbone(source, run)
    save_backbone(VGG16(width_multiplier=0.05, fc_units=()), tiles)
    for arguments, told in (
        (
            [f"--init_backbone={run}"],
            {
                "--backbone=alexnet",
                "--alexnet_order=bvlc",
                "--normalization=batch_norm",
                "--width_multiplier=0.1",
            },
        ),
        (
            [f"--init_backbone={tiles}"],
            {"--backbone=vgg16", "--normalization=none", "--width_multiplier=0.05"},
        ),
        (
            [f"--init_backbone={foreign}", "--input_range=0,1"],
            {"--backbone=keras", "--input_range=0.0,1.0"},
        ),
    ):
        network, lines = resolved(arguments)
        assert told < set(lines), arguments
        again, lines_again = resolved(lines)
        assert lines_again == lines
        assert backbone_fingerprint(again) == backbone_fingerprint(network)


def test_settings_of_networks_that_did_not_run_are_left_out(tmp_path):
    save_backbone(AlexNet(width_multiplier=0.1, fc_units=()), tmp_path)
    values = read_values([f"--init_backbone={tmp_path}"])
    network = Start.from_values(KINDS, values, image_size=131)
    ran = network.resolved(values, network.build())
    assert isinstance(ran, Values)
    assert {type(group) for group in ran} == {
        NetworkSettings,
        InputConventionSettings,
        AlexNetSettings,
    }

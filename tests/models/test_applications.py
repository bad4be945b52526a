"""Networks of keras.applications as backbones: the same functions as Keras's own.

They have stages, and preprocessing and weights of theirs.
"""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.layers import PerExampleDropout
from ccssl_tf.layers.per_example_dropout import per_example_seeds
from ccssl_tf.models import Application, load_backbone, save_backbone
from ccssl_tf.models import applications as lib
from ccssl_tf.models.application_weights import import_weights
from ccssl_tf.models.backbone import copy_convolutions
from ccssl_tf.models.backbone_file import backbone_fingerprint
from ccssl_tf.models.heads import build_classifier
from ccssl_tf.runs.errors import InputError

TINY = dict(network="MobileNetV2", width_multiplier=0.1)


def pixels(size=64, count=2):
    return np.random.default_rng(0).integers(0, 256, [count, size, size, 3]).astype(np.uint8)


def with_other_weights(model, seed=3):
    """Gives every weight of a model another value than its start, so that losing it would show."""
    random = np.random.default_rng(seed)
    for layer in model.layers:
        if layer.weights and not isinstance(layer, keras.layers.Normalization):
            layer.set_weights(
                [weight + random.uniform(0, 0.05, weight.shape) for weight in layer.get_weights()]
            )
    return model


def fresh(network, **options):
    return getattr(keras.applications, network)(weights=None, **options)


def with_imagenets_scaling(model):
    """Gives EfficientNet's first layers the mean and deviation its published weights come with."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
            layer.set_weights([mean, deviation**2, *layer.get_weights()[2:]])
            layer.finalize_state()
    return model


# The layers that other projects take as the stages of these networks, where they do.
STAGES = dict(
    MobileNetV2=[
        "block_1_expand_relu",
        "block_3_expand_relu",
        "block_6_expand_relu",
        "block_13_expand_relu",
        "out_relu",
    ],
    VGG16=["block1_conv2", "block2_conv2", "block3_conv3", "block4_conv3", "block5_conv3"],
    ResNet50=[
        "conv1_relu",
        "conv2_block3_out",
        "conv3_block4_out",
        "conv4_block6_out",
        "conv5_block3_out",
    ],
    EfficientNetB0=[
        *(f"block{block}a_expand_activation" for block in (2, 3, 4, 6)),
        "top_activation",
    ],
    DenseNet121=["conv1_relu", "pool2_conv", "pool3_conv", "pool4_conv", "relu"],
    ResNet50V2=[
        "conv1_conv",
        "conv2_block2_out",
        "conv3_block3_out",
        "conv4_block5_out",
        "post_relu",
    ],
)
OFTEN = ("MobileNetV2",)


@pytest.mark.parametrize(
    "network",
    [pytest.param(name, marks=[] if name in OFTEN else pytest.mark.slow) for name in STAGES],
)
def test_endpoints_are_what_keras_computes_at_the_end_of_each_stage(network, tmp_path):
    theirs = with_imagenets_scaling(
        with_other_weights(fresh(network, include_top=False, input_shape=(64, 64, 3)))
    )
    theirs.save_weights(tmp_path / "a.weights.h5")
    ours = import_weights(tmp_path / "a.weights.h5", network=network)
    assert ours.endpoint_names == [f"conv{number}" for number in range(1, 6)]
    probe = keras.Model(theirs.input, [theirs.get_layer(name).output for name in STAGES[network]])
    module = sys.modules[getattr(keras.applications, network).__module__]
    expected = probe(module.preprocess_input(pixels().astype("float32")), training=False)
    found = ours(ours.normalize(pixels()), training=False)
    for name, value in zip(ours.endpoint_names, expected, strict=True):
        np.testing.assert_allclose(
            found[name], value, rtol=1e-4, atol=1e-4 * np.abs(value).max(), err_msg=name
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    "network",
    [
        "ConvNeXtTiny",
        "MobileNetV3Small",
        "NASNetMobile",
        "Xception",
        "InceptionV3",
        "EfficientNetV2B0",
    ],
)
def test_other_kinds_of_networks_become_backbones(network, tmp_path):
    backbone = Application(network=network, avg_pool=True)
    backbone.check_size(96)
    sides = [
        value.shape[1]
        for name, value in backbone(np.zeros([1, 192, 192, 3], "float32")).items()
        if name != "avg_pool"
    ]
    assert len(sides) == (4 if network.startswith("ConvNeXt") else 5)
    assert all(0.35 < b / a < 0.65 for a, b in zip(sides, sides[1:], strict=False)), sides
    fingerprint = save_backbone(backbone, tmp_path)
    assert backbone_fingerprint(load_backbone(tmp_path)) == fingerprint


def test_a_backbone_travels_to_a_fresh_process(tmp_path):
    # Layers that Keras numbers would be called otherwise by the second network of a process than by
    # the first.
    Application(network="MobileNetV3Small", width_multiplier=0.1)
    backbone = with_other_weights(
        Application(network="MobileNetV3Small", width_multiplier=0.1, avg_pool=True)
    )
    fingerprint = save_backbone(backbone, tmp_path)
    told = json.loads((tmp_path / "backbone.json").read_text())
    assert (
        told["endpoints"][-1] == "avg_pool" and told["architecture"]["type"] == "MobileNetV3Small"
    )
    assert "preprocess_input of MobileNetV3Small" in told["input"]["seen"]
    program = f"""
import numpy as np
from ccssl_tf.models import load_backbone
backbone = load_backbone({str(tmp_path)!r})
images = np.load({str(tmp_path / "images.npy")!r})
np.savez({str(tmp_path / "found.npz")!r}, **backbone(backbone.normalize(images), training=False))
"""
    np.save(tmp_path / "images.npy", pixels())
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    expected = backbone(backbone.normalize(pixels()), training=False)
    with np.load(tmp_path / "found.npz") as found:
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    again = load_backbone(tmp_path)
    assert (
        backbone_fingerprint(again) == fingerprint and again.get_config() == backbone.get_config()
    )


def test_weights_are_copied_to_a_network_of_the_same_name_and_width_only(tmp_path):
    source, target = with_other_weights(Application(**TINY)), Application(**TINY, avg_pool=True)
    copy_convolutions(source, target, "a")
    for name, value in source(source.normalize(pixels())).items():
        np.testing.assert_array_equal(target(target.normalize(pixels()))[name], value)
    with pytest.raises(
        InputError, match="a: another architecture: kernel of .* is .*, the network being built has"
    ):
        copy_convolutions(source, Application(**dict(TINY, width_multiplier=0.5)), "a")


def test_batch_normalisation_is_that_of_our_networks():
    backbone = Application(**TINY)
    norms = [
        layer for layer in backbone.layers if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert len(norms) == 52 and all(norm.synchronized and norm.momentum == 0.9 for norm in norms)
    # The published epsilon, which the weights were trained with.
    assert {norm.epsilon for norm in norms} == {1e-3}
    assert backbone.architecture()["normalization"] == "batch_norm"


@pytest.mark.slow
def test_dropped_branches_follow_each_examples_seed():
    backbone = Application(network="EfficientNetB0")
    dropouts = [layer for layer in backbone.layers if isinstance(layer, PerExampleDropout)]
    assert (
        len(dropouts) == 9
        and len({layer.stream for layer in dropouts}) == 9
        and all(layer.drops_rows for layer in dropouts)
    )
    assert not any(isinstance(layer, keras.layers.Dropout) for layer in backbone.layers)
    seeds = tf.constant([[0, 5], [0, 9]], tf.int64)
    layer, x = dropouts[-1], tf.ones([2, 3, 3, 4])
    with per_example_seeds(seeds):
        forward = layer(x, training=True)
    with per_example_seeds(seeds[::-1]):
        backward = layer(x, training=True)
    np.testing.assert_array_equal(forward, backward[::-1])


def test_a_classifier_reads_the_mean_of_the_last_map():
    backbone = Application(**TINY, avg_pool=True)
    model = build_classifier(backbone, 5, 64)
    endpoints = backbone(backbone.normalize(pixels()), training=False)
    np.testing.assert_allclose(
        endpoints["avg_pool"], np.mean(endpoints["conv5"], (1, 2)), rtol=1e-5, atol=1e-6
    )
    head = model.get_layer("logits")
    found = model(backbone.normalize(pixels()), training=False)["logits"]
    np.testing.assert_allclose(
        found, endpoints["avg_pool"] @ head.kernel + head.bias, rtol=1e-4, atol=1e-5
    )


def test_grey_images_are_lightness_in_all_channels():
    backbone = Application(**TINY, colors="gray")
    seen = backbone.normalize(pixels()).numpy()
    np.testing.assert_array_equal(seen[..., 0], seen[..., 2])
    white = backbone.normalize(np.full([1, 2, 2, 3], 255, np.uint8)).numpy()
    np.testing.assert_allclose(white, 1, atol=1e-3)


def test_sizes():
    backbone = Application(**TINY)
    backbone.check_size(32)
    for refused in (lambda: backbone.check_size(16), lambda: backbone(keras.Input([16, 16, 3]))):
        with pytest.raises(
            InputError, match="MobileNetV2: images of 16 pixels are too small for it"
        ) as error:
            refused()
        assert "\n" not in str(error.value)
    assert lib.published_size("Xception") == 299 and lib.published_size("ResNet50") == 224


def test_unknown_names_widths_and_colours_are_refused():
    with pytest.raises(InputError, match="keras.applications has no Resnet50, but .*ResNet50"):
        Application(network="Resnet50")
    with pytest.raises(
        InputError,
        match="--width_multiplier=0.5: VGG19 has one width; only the MobileNets have others",
    ):
        Application(network="VGG19", width_multiplier=0.5)
    with pytest.raises(InputError, match="--backbone=VGG19: cannot be split"):
        Application(network="VGG19", colors="lab_halves")
    assert lib.similar_names("zzz") == ["MobileNetV2", "ResNet50", "EfficientNetB0"]


ON_TWO_DEVICES = """
import sys
import keras
import numpy as np
import tensorflow as tf
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
from ccssl_tf import distribution
from ccssl_tf.training import optimizers
from ccssl_tf import training
from ccssl_tf.models import Application
from ccssl_tf.pretext.supervised import Supervised
models = []
for name in ("one", "mirrored"):
    keras.utils.set_random_seed(0)
    model, _, _ = training.train(
        Supervised(data_dir=sys.argv[1], image_size=64),
        lambda: Application(network="MobileNetV2", width_multiplier=0.05, avg_pool=True),
        lambda: optimizers.make_optimizer("sgd", 1e-2),
        workdir=f"{sys.argv[2]}/{name}", train_steps=1, batch_size=16, strategy=distribution.make_strategy(name),
    )
    models.append(model)
assert len(models[0].variables) > 200
for one, two in zip(models[0].variables, models[1].variables, strict=True):
    # Gradients through 52 normalisations magnify rounding: in float64 they agree to seven digits, the statistics do in float32 too.
    atol = 2e-3 if one.trainable else 1e-5
    np.testing.assert_allclose(one.numpy(), two.numpy(), rtol=1e-4, atol=atol, err_msg=one.path)
"""  # noqa: E501


@pytest.mark.slow
def test_two_logical_devices_end_with_the_weights_of_one(image_dir, tmp_path):
    """Batch normalisation sees the whole batch, and its moving averages are those of one device."""
    arguments = [sys.executable, "-c", ON_TWO_DEVICES, str(image_dir), str(tmp_path)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]

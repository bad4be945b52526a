"""The detector: its outputs, what is locked, strides, and that it survives a file."""

import keras
import numpy as np
import pytest

from ccssl_tf.models import VGG16, AlexNet
from ccssl_tf.models.backbone_file import load_model, save_model
from ccssl_tf.models.fast_rcnn import build_fast_rcnn, endpoint_stride
from ccssl_tf.runs.errors import InputError

MEANS, DEVIATIONS = np.arange(12).reshape(3, 4) / 10, np.full([3, 4], 0.2)


def detector(backbone, **options):
    settings = dict(
        fc_units=(160, 160), dropout_rate=0.5, code_means=MEANS, code_deviations=DEVIATIONS
    )
    return build_fast_rcnn(backbone, **settings | options)


def alexnet(**options):
    return AlexNet(width_multiplier=0.05, fc_units=(), **options)


NETWORKS = dict(
    alexnet=alexnet,
    small_alexnet=lambda: alexnet(stem="small", normalization="batch_norm"),
    vgg16=lambda: VGG16(width_multiplier=0.05, fc_units=()),
)


@pytest.mark.parametrize("name, stride", [("alexnet", 16), ("small_alexnet", 8), ("vgg16", 16)])
def test_regions_are_pooled_at_the_maps_stride(name, stride):
    model = detector(NETWORKS[name]())
    assert model.get_layer("roi_pool").spatial_scale == 1 / stride
    assert model.backbone.get_config().get("is_padded", True)
    rois = np.float32([[0, 0, 0, 30, 40], [1, 5, 5, 90, 60]])
    outputs = model([np.zeros([2, 96, 120, 3], np.float32), rois])
    assert outputs["logits"].shape == (2, 4) and outputs["codes"].shape == (2, 12)
    # The last layers are nearly 0 at first: every code is its mean.
    np.testing.assert_allclose(np.reshape(outputs["codes"][0], [3, 4]), MEANS, atol=0.05)


def test_first_stages_and_trained_statistics_are_locked():
    def trained(model):
        return {layer.name for layer in model.backbone.layers if layer.trainable_weights}

    assert trained(detector(NETWORKS["alexnet"]())) == {"conv2", "conv3", "conv4", "conv5"}
    assert min(trained(detector(NETWORKS["vgg16"]()))) == "conv3_1"
    assert "conv1" in trained(detector(NETWORKS["alexnet"](), locked_stages=0))
    started = NETWORKS["small_alexnet"]()
    assert "conv1_norm" in trained(detector(started))
    started.weights_from = dict(file="x")
    assert trained(detector(started)) == {"conv2", "conv3", "conv4", "conv5"}


@pytest.mark.parametrize(
    "backbone, side",
    [
        (lambda: AlexNet(width_multiplier=0.05, fc_units=(9, 7), image_size=227), 6),
        (lambda: VGG16(width_multiplier=0.05, fc_units=(9, 7), image_size=224), 7),
    ],
)
def test_fully_connected_layers_are_kept_where_the_backbone_has_them(backbone, side):
    keras.utils.set_random_seed(3)
    backbone = backbone()
    model = detector(backbone)
    names = ("roi_pool", "fc6", "fc7")
    inner = keras.Model(model.inputs, [model.get_layer(name).output for name in names])
    rois = np.float32([[0, 0, 0, 90, 80], [0, 5, 5, 60, 60]])
    images = np.random.default_rng(0).normal(0, 50, [1, 96, 120, 3]).astype(np.float32)
    pooled, fc6, fc7 = (np.asarray(x) for x in inner([images, rois]))
    assert pooled.shape[1:3] == (side, side) and pooled.any()
    x = pooled.reshape(2, -1)
    for name, ours in (("fc6", fc6), ("fc7", fc7)):
        kernel, bias = backbone.get_layer(name).get_weights()
        x = np.maximum(x @ kernel + bias, 0)
        np.testing.assert_allclose(ours, x, rtol=1e-4, atol=1e-4)


def test_convolutions_are_the_backbones():
    backbone = AlexNet(width_multiplier=0.05, fc_units=(8, 8), image_size=131)
    model = detector(backbone)
    for ours, theirs in zip(model.backbone.convolutions(), backbone.convolutions(), strict=True):
        np.testing.assert_array_equal(ours.kernel, theirs.kernel)


def test_a_file_holds_the_whole_detector(tmp_path):
    model = detector(NETWORKS["alexnet"]())
    save_model(model, tmp_path / "detector.keras")
    inputs = [
        np.random.default_rng(0).normal(size=[1, 80, 96, 3]).astype("float32"),
        np.float32([[0, 3, 4, 70, 60]]),
    ]
    again = load_model(tmp_path / "detector.keras")
    for name, value in model(inputs).items():
        np.testing.assert_allclose(again(inputs)[name], value, rtol=1e-6)


def test_a_network_of_one_size_is_refused():
    with pytest.raises(InputError, match="images of 131 pixels only"):
        endpoint_stride(AlexNet(width_multiplier=0.05, fc_units=(8, 8), image_size=131), "conv5")
    assert isinstance(detector(NETWORKS["vgg16"]()), keras.Model)

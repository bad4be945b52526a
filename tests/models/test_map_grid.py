"""Cells lie where impulses in the image say they do."""

import keras
import numpy as np
import pytest

from ccssl_tf.models import Application
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.backbone import Backbone
from ccssl_tf.models.map_grid import Grid, endpoint_grids
from ccssl_tf.models.vgg16 import VGG16
from ccssl_tf.runs.errors import InputError


def _positive(backbone):
    """Lets every window pass on what lies in it, so that impulses reach the cells that see them."""
    for layer in backbone.convolutions():
        layer.set_weights(
            [
                np.full(weight.shape, 0.1 if weight.name == "kernel" else 0, np.float32)
                for weight in layer.weights
            ]
        )
    return backbone


@pytest.mark.parametrize(
    ("backbone", "height", "width"),
    [
        (AlexNet(width_multiplier=0.05, fc_units=()), 67, 323),
        (AlexNet(width_multiplier=0.05, fc_units=(), conv1_stride=2), 43, 203),
        (AlexNet(width_multiplier=0.05, fc_units=(), stem="small", normalization="none"), 16, 128),
        (VGG16(width_multiplier=0.05, fc_units=()), 48, 288),
    ],
    ids=["standard", "stride 2", "small", "vgg16"],
)
def test_against_impulses(backbone, height, width):
    impulses = np.zeros([width, height, width, 3], np.float32)
    impulses[np.arange(width), height // 2, np.arange(width)] = 1
    maps = _positive(backbone)(impulses)
    checked = 0
    for name, grid in endpoint_grids(backbone).items():
        sees = np.asarray(maps[name]).max((1, 3)) > 0
        for cell in range(sees.shape[1]):
            field = np.flatnonzero(sees[:, cell])
            if field[0] > 0 and field[-1] < width - 1:
                assert (field[0] + field[-1]) / 2 == grid.stride * cell + grid.start, (name, cell)
                checked += 1
    assert checked > 50


def test_networks_with_branches():
    grids = endpoint_grids(Application(network="MobileNetV2", width_multiplier=0.1))
    assert {name: grid.stride for name, grid in grids.items()} == dict(
        conv1=2, conv2=4, conv3=8, conv4=16, conv5=32
    )
    # 3x3 windows with stride 2 over images continued at the right alone.
    assert grids["conv2"].start == 3 and grids["conv1"].multiple == 2


def test_windows():
    assert Grid().after(11, 4) == Grid(4, 5.0) and Grid(4, 5.0).after(3, 2) == Grid(8, 9.0)
    assert Grid(8, 4.0).after(3, before=1) == Grid(8, 4.0)


def test_a_network_that_resizes_is_refused():
    images = keras.Input([None, None, 3])
    maps = keras.layers.UpSampling2D(2)(
        keras.layers.Conv2D(4, 3, strides=2, padding="same")(images)
    )
    with pytest.raises(InputError, match="where the cells of conv1 lie cannot be told"):
        endpoint_grids(Backbone(inputs=images, outputs=dict(conv1=maps), name="odd"))


def test_a_network_that_makes_its_map_larger_again_is_refused():
    images = keras.Input([32, 32, 3])
    maps = keras.layers.Conv2DTranspose(4, 3, strides=2, padding="same", name="up")(images)
    with pytest.raises(InputError, match="^odd: up makes its map larger"):
        endpoint_grids(Backbone(inputs=images, outputs=dict(conv1=maps), name="odd"))


def test_windows_of_every_kind_of_layer():
    images = x = keras.Input([64, 64, 3])
    layers = keras.layers
    for layer in (
        layers.Conv2D(4, 3, strides=2),
        layers.DepthwiseConv2D(3, dilation_rate=2),
        layers.SeparableConv2D(4, 5, strides=2),
        layers.MaxPooling2D(2),
        layers.AveragePooling2D(3, strides=1),
        layers.ReLU(),
    ):
        x = layer(x)
    (grid,) = endpoint_grids(Backbone(inputs=images, outputs=dict(a=x), name="a")).values()
    # Windows of 3, 5 (3 with holes), 5, 2 and 3 cells, 1, 2, 2, 4 and 8 pixels apart.
    assert grid == Grid(8, 1 + 2 * 2 + 2 * 2 + 4 * 0.5 + 8 * 1)

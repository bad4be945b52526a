"""Fully convolutional networks: a class for every pixel of images of any size.

They are those of Long, Shelhamer and Darrell 2015 (experiments/PROTOCOLS.md, "Segmentation (FCN)").

The fully connected layers run as convolutions over the last map of the image, which is continued by
100 zeros on every side; scores are interpolated bilinearly to the image's pixels by fixed weights.
In Caffe this is a deconvolution of twice the stride and a crop by a number of pixels found for each
network; both are one thing once it is known where in the image each cell lies: a tent over each
cell's centre, zero one stride away. `tests/models/test_fcn.py` derives Caffe's numbers from it.
"""

import pathlib

import keras
import numpy as np
from keras import ops

from ccssl_tf.layers import CeilMaxPooling2D, PerExampleDropout
from ccssl_tf.models.backbone import Backbone, copy_convolutions, fully_connected_layers
from ccssl_tf.models.backbone_file import load_model
from ccssl_tf.models.map_grid import Grid, endpoint_grids
from ccssl_tf.runs.errors import InputError

# Cells a side that fc6 sees: what the networks have of images of 227 and 224 pixels. Others have no
# fully connected layers.
_FC6_SIZE = dict(AlexNet=6, VGG16=7)
# The map of VGG16 that is pooled and scored beside the last one, by its stride.
_SKIPS = {16: "conv4_3", 8: "conv3_3"}
FILE_NAME = "segmenter.keras"
_PADDING, _PADDED_STRIDE = 100, 32


def tents(size, cells, grid: Grid):
    """Returns [size, cells] float32: the weight of every cell at every place of a line.

    It is 1 at the cell's centre and 0 one stride away.
    """
    places = ops.arange(size, dtype="float32")[:, None]
    centres = ops.arange(cells, dtype="float32")[None] * grid.stride + grid.start
    return ops.relu(1 - ops.abs(places - centres) / grid.stride)


def upsample(maps, height, width, grid: Grid):
    """Interpolates [B, h, w, C] to [B, height, width, C]; gradients are the same on every run."""
    maps = ops.einsum("hy,byxc->bhxc", tents(height, ops.shape(maps)[1], grid), maps)
    return ops.einsum("wx,bhxc->bhwc", tents(width, ops.shape(maps)[2], grid), maps)


@keras.saving.register_keras_serializable(package="ccssl_tf")
class ImagePadding(keras.layers.Layer):
    """Puts `padding` zeros around [B, H, W, C].

    There are more below and at the right, until the size is a multiple of `multiple`.
    """

    def __init__(self, padding, multiple=1, **kwargs):
        super().__init__(**kwargs)
        self.padding, self.multiple = padding, multiple

    def call(self, images):
        """Maps [B, H, W, C] to [B, H', W', C]."""
        more = [
            self.padding + -(size + 2 * self.padding) % self.multiple
            for size in ops.shape(images)[1:3]
        ]
        return ops.pad(images, [[0, 0], [self.padding, more[0]], [self.padding, more[1]], [0, 0]])

    def compute_output_shape(self, shape):
        """[B, H', W', C], with None where the input's size is None."""
        sizes = [
            None if n is None else -(-(n + 2 * self.padding) // self.multiple) * self.multiple
            for n in shape[1:3]
        ]
        return (shape[0], *sizes, shape[3])

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), "padding": self.padding, "multiple": self.multiple}


@keras.saving.register_keras_serializable(package="ccssl_tf")
class UpsampledScores(keras.layers.Layer):
    """Scores of cells [B, h, w, C] -> scores of the images' pixels [B, H, W, C].

    The weights are bilinear and fixed; the images [B, H, W, 3] say the size.
    """

    def __init__(self, stride, start, **kwargs):
        super().__init__(**kwargs)
        self.stride, self.start = stride, start

    def call(self, scores, images):
        """Interpolates."""
        return upsample(
            scores, ops.shape(images)[1], ops.shape(images)[2], Grid(self.stride, self.start)
        )

    def compute_output_shape(self, scores_shape, images_shape):
        """The images' size, the scores' channels."""
        return (*images_shape[:3], scores_shape[3])

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), "stride": self.stride, "start": self.start}


@keras.saving.register_keras_serializable(package="ccssl_tf")
class FusedScores(keras.layers.Layer):
    """Doubles coarse scores [B, h, w, C] and adds those of the finer map that lie there.

    The result is [B, 2 h + 2, 2 w + 2, C].

    Args:
      first: row and column of the finer map on which the first doubled score lies.
    """

    def __init__(self, first, **kwargs):
        super().__init__(**kwargs)
        self.first = first

    def call(self, coarse, fine):
        """Maps coarse and finer scores to their sum."""
        height, width = (2 * size + 2 for size in ops.shape(coarse)[1:3])
        fine = fine[:, self.first : self.first + height, self.first : self.first + width]
        return upsample(coarse, height, width, Grid(2, 1.5)) + fine

    def compute_output_shape(self, coarse_shape, fine_shape):
        """[B, 2 h + 2, 2 w + 2, C], with None where the size is None."""
        return (
            coarse_shape[0],
            *(None if n is None else 2 * n + 2 for n in coarse_shape[1:3]),
            coarse_shape[3],
        )

    def get_config(self):
        """The constructor's argument."""
        return {**super().get_config(), "first": self.first}


def build_fcn(
    backbone: Backbone,
    num_classes: int,
    *,
    fc_units=(4096, 4096),
    dropout_rate: float = 0.5,
    stride: int = 0,
) -> keras.Model:
    """Returns a Functional model from images to `logits` [B, H, W, C] float32.

    Images are [B, H, W, 3], as `backbone.normalize` makes them.

    Args:
      backbone: of any size. Of one with fully connected layers their weights are copied; otherwise
        fc6 and fc7 start random (He et al.), and networks that never have any are scored at their
        last map.
      num_classes: C, background included.
      fc_units: sizes of random fc6 and fc7.
      dropout_rate: after each.
      stride: 32, 16 or 8: that of the finest scores (FCN-32s, -16s, -8s); 0 for that of the last
        map.

    Returns:
      The model, with `.backbone`, its convolutional part. Score layers start at zero, as published.

    Raises:
      InputError: the network has no map of that stride, or its fully connected layers do not fit
        one.
    """
    backbone, dense = _without_dense_layers(backbone)
    fc6_size = _FC6_SIZE.get(type(backbone).__name__, 0)
    grids = endpoint_grids(backbone)
    last = backbone.endpoint_names[-1]
    padding = _padding(backbone.convolutions()[0], grids[last].stride) if fc6_size else 0
    images = keras.Input([None, None, 3], name="images")
    endpoints = backbone(ImagePadding(padding, grids[last].multiple, name="padding")(images))
    x, grid = endpoints[last], grids[last]
    if fc6_size:
        for stream, (name, units, size) in enumerate(
            zip(("fc6", "fc7"), dense.get("units", fc_units), (fc6_size, 1), strict=True)
        ):
            x = keras.layers.Conv2D(
                units, size, activation="relu", kernel_initializer="he_normal", name=name
            )(x)
            x = PerExampleDropout(dropout_rate, stream=1000 + stream, name=f"{name}_dropout")(x)
            grid = grid.after(size)
    grid = Grid(grid.stride, grid.start - padding)
    scores = _scores("score", num_classes)(x)
    for finer in _skips(stride, grid.stride, endpoints, backbone.name):
        pooled = CeilMaxPooling2D(2, 2, name=f"{_SKIPS[finer]}_pooled")(endpoints[_SKIPS[finer]])
        fine = grids[_SKIPS[finer]].after(2, 2)
        start = grid.start - 1.5 * finer
        first = (start - (fine.start - padding)) / finer
        if first != int(first) or first < 0:
            raise InputError(
                f"{backbone.name}: the cells of {_SKIPS[finer]} do not lie halfway between those "
                "scored; use --fcn_stride=32"
            )
        scores = FusedScores(int(first), dtype="float32", name=f"fused_{finer}")(
            scores, _scores(f"score_{finer}", num_classes)(pooled)
        )
        grid = Grid(finer, start)
    logits = UpsampledScores(grid.stride, grid.start, dtype="float32", name="logits")(
        scores, images
    )
    model = keras.Model(images, dict(logits=logits), name="fcn")
    model.backbone = backbone
    for name in ("fc6", "fc7") if "units" in dense else ():
        _copy_dense(dense[name], model.get_layer(name))
    return model


def copy_segmenter(path, model: keras.Model):
    """Starts a segmenter from the layers of another one that it has too.

    Its finer scores keep their zeros (as FCN-16s from FCN-32s).

    Args:
      path: `segmenter.keras` or the workdir that holds it.
      model: of `build_fcn`.

    Raises:
      InputError: no segmenter there, or of another backbone, or with layers of other shapes.
    """
    file = pathlib.Path(path)
    file = file / FILE_NAME if file.is_dir() else file
    if not file.is_file():
        raise InputError(
            f"--init_segmenter={path}: no {FILE_NAME} there; name the workdir of a finished fcn run"
        )
    start = load_model(file)
    networks = [layer for layer in start.layers if isinstance(layer, Backbone)]
    if not networks:
        raise InputError(f"--init_segmenter={path}: holds a {start.name}, not a segmenter")
    copy_convolutions(networks[0], model.backbone, str(file))
    theirs = {layer.name: layer for layer in start.layers}
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D) and layer.name in theirs:
            ours, there = (
                [tuple(weight.shape) for weight in one.weights]
                for one in (layer, theirs[layer.name])
            )
            if ours != there:
                raise InputError(
                    f"--init_segmenter={path}: its {layer.name} is {there[0]}, the network being "
                    f"built has {ours[0]}"
                )
            layer.set_weights(theirs[layer.name].get_weights())


def _padding(conv1, stride):
    """Returns the zeros around the image: Caffe's 100 at stride 32, in proportion at others.

    Those conv1 puts there itself are not among them.
    """
    itself = max(conv1.kernel_size[0] - conv1.strides[0], 0) // 2 if conv1.padding == "same" else 0
    return _PADDING * stride // _PADDED_STRIDE - itself


def _scores(name, num_classes):
    return keras.layers.Conv2D(
        num_classes, 1, kernel_initializer="zeros", dtype="float32", name=name
    )


def _skips(stride, coarsest, endpoints, network) -> list[int]:
    """The strides of the finer scores that are added, coarse ones first."""
    wanted = [finer for finer in (16, 8) if stride and stride <= finer < coarsest]
    if stride and (
        stride != coarsest and not wanted or not all(_SKIPS[finer] in endpoints for finer in wanted)
    ):
        raise InputError(
            f"--fcn_stride={stride}: {network} has scores of stride {coarsest} only; leave the "
            "flag out"
        )
    return wanted


def _without_dense_layers(backbone):
    """Returns the convolutional part of a backbone, and its fc6 and fc7 if it has them."""
    layers = fully_connected_layers(backbone)
    if not layers:
        return backbone, {}
    convolutional = type(backbone).from_config({**backbone.get_config(), "fc_units": []})
    copy_convolutions(backbone, convolutional, backbone.name)
    convolutional.weights_from = backbone.weights_from
    return convolutional, dict(layers, units=[layer.units for layer in layers.values()])


def _copy_dense(dense, convolution):
    """Gives a convolution the weights of a fully connected layer over a flattened map [h, w, C]."""
    kernel, bias = dense.get_weights()
    if kernel.size != np.prod(convolution.kernel.shape):
        raise InputError(
            f"{dense.name}: sees {kernel.shape[0]} numbers, as a convolution "
            f"{np.prod(convolution.kernel.shape[:3])}; "
            "build the backbone for its usual image size"
        )
    convolution.set_weights([kernel.reshape(convolution.kernel.shape), bias])

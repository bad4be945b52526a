"""Fast R-CNN (Girshick 2015) on any backbone.

Regions of one map are pooled and go through fc6 and fc7 to classes and box codes.
"""

import math

import keras

from ccssl_tf.layers import PerExampleDropout, RoIPool
from ccssl_tf.models.backbone import Backbone, copy_convolutions, fully_connected_layers, scaled
from ccssl_tf.runs.errors import InputError

POOLED_SIZE = 6
FILE_NAME = "detector.keras"
# Stages of convolutions that the released networks do not train.
_LOCKED_STAGES = dict(AlexNet=1, VGG16=2)


def build_fast_rcnn(
    backbone: Backbone,
    *,
    fc_units,
    dropout_rate: float,
    code_means,
    code_deviations,
    locked_stages=None,
) -> keras.Model:
    """Returns a Functional model over the convolutions of `backbone`, with `.backbone`.

    Inputs: `images` [B, H, W, 3] as the backbone takes them; `rois` [R, 5] batch index, x1, y1, x2,
    y2 in pixels counted from 0. Outputs: `logits` [R, 1 + C] float32, background first; `codes` [R,
    4 C] float32, the boxes of each class as `ccssl_tf.ops.boxes` encodes them. The network computes
    codes less their mean, over their deviation, and undoes that at its end.

    Fully connected layers are those of the backbone where it has them, and regions are pooled to
    the map they see; else they start random (He initialisation: the widths differ between
    backbones). The last ones start with Fast R-CNN's deviations of 0.01 and 0.001. AlexNet is
    padded as for detection. Batch normalisation that was trained keeps its statistics, scale and
    shift: two images a step are too few for others.

    Args:
      backbone: the convolutions to start from, and fc6 and fc7 if it has them.
      fc_units: sizes of random fc6 and fc7 at width multiplier 1.
      dropout_rate: after each.
      code_means, code_deviations: [C, 4].
      locked_stages: stages of convolutions that are not trained; None for the released networks'
        (conv1 of AlexNet, conv1 and conv2 of VGG16, the first of others).
    """
    kept = fully_connected_layers(backbone)
    backbone = _without_fc(backbone)
    name = [name for name in backbone.endpoint_names if name.startswith("conv")][-1]
    _lock(backbone, released_locked_stages(backbone) if locked_stages is None else locked_stages)
    images, rois = keras.Input([None, None, 3], name="images"), keras.Input([5], name="rois")
    side = _pooled_size(kept, backbone, name)
    pooling = RoIPool(
        side, side, spatial_scale=1 / endpoint_stride(backbone, name), name="roi_pool"
    )
    x = keras.layers.Flatten(name="flatten")(pooling(backbone(images)[name], rois))
    width = backbone.get_config().get("width_multiplier", 1.0)
    for stream, (layer, units) in enumerate(zip(("fc6", "fc7"), fc_units, strict=True)):
        units = kept[layer].units if kept else scaled(units, width)
        x = keras.layers.Dense(
            units, activation="relu", kernel_initializer="he_normal", name=layer
        )(x)
        x = PerExampleDropout(dropout_rate, stream=1000 + stream, name=f"{layer}_dropout")(x)
    num_classes = len(code_means)
    logits = _output(1 + num_classes, 0.01, "logits")(x)
    codes = _output(4 * num_classes, 0.001, "normalized_codes")(x)
    means, variances = (
        [float(value) ** power for row in rows for value in row]
        for rows, power in ((code_means, 1), (code_deviations, 2))
    )
    codes = keras.layers.Normalization(
        mean=means, variance=variances, invert=True, dtype="float32", name="codes"
    )(codes)
    model = keras.Model([images, rois], dict(logits=logits, codes=codes), name="fast_rcnn")
    model.backbone = backbone
    for layer, dense in kept.items():
        model.get_layer(layer).set_weights(dense.get_weights())
    return model


def _pooled_size(kept, backbone, endpoint: str) -> int:
    """Returns the side of the map that fc6 sees: that of the layer kept, else Fast R-CNN's."""
    if not kept:
        return POOLED_SIZE
    channels = backbone.compute_output_shape([1, 256, 256, 3])[endpoint][3]
    return math.isqrt(kept["fc6"].kernel.shape[0] // channels)


def released_locked_stages(backbone: Backbone) -> int:
    """Returns how many stages of convolutions the released network does not train.

    It is 1 for a kind of which none was released.
    """
    return _LOCKED_STAGES.get(type(backbone).__name__, 1)


def _output(units, deviation, name):
    return keras.layers.Dense(
        units,
        kernel_initializer=keras.initializers.RandomNormal(stddev=deviation),
        dtype="float32",
        name=name,
    )


def _without_fc(backbone):
    """A copy of `backbone` without fully connected layers, for images of any size.

    It is padded where it can be.
    """
    config, wanted = backbone.get_config(), dict(fc_units=[], is_padded=True)
    copy = type(backbone).from_config(
        {**config, **{name: value for name, value in wanted.items() if name in config}}
    )
    copy_convolutions(backbone, copy, backbone.name)
    copy.weights_from = backbone.weights_from
    return copy


def _lock(backbone, stages):
    """Keeps the first stages of convolutions, and trained batch normalisation, as they are."""
    ends = [
        name
        for name in backbone.endpoint_names
        if any(name.split("_")[0] == f"conv{stage}" for stage in range(1, stages + 1))
    ]
    locked = (
        keras.Model(backbone.inputs, [backbone.output[name] for name in ends]).layers
        if ends
        else []
    )
    for layer in backbone.layers:
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = backbone.weights_from is None if is_norm else layer not in locked


def endpoint_stride(backbone, endpoint: str) -> int:
    """Returns how many pixels lie between neighbouring cells of an endpoint, a power of two.

    Raises:
      InputError: the network takes images of one size only.
    """
    if backbone.input_shape[1] is not None:
        raise InputError(
            f"{backbone.name}: takes images of {backbone.input_shape[1]} pixels only; detection "
            "needs photos of any size"
        )
    side = 1024
    return 2 ** round(
        math.log2(side / backbone.compute_output_shape([1, side, side, 3])[endpoint][1])
    )

"""Merges batch normalisation into the kernels before it.

The function is the same, in fewer operations, as Caffe's networks expect it.
"""

import keras
import numpy as np

from ccssl_tf.models.backbone import Backbone
from ccssl_tf.runs.errors import InputError


def fold_batch_normalization(backbone: Backbone) -> Backbone:
    """Returns the same function as `backbone` in inference, without batch normalisation.

    Of y = gamma * (W * x - mean) / sqrt(variance + epsilon) + beta, the kernel becomes W * f and
    the bias beta - mean * f with f = gamma / sqrt(variance + epsilon), output channel by output
    channel (computed in float64).

    Args:
      backbone: built with normalization="batch_norm"; a layer's normalisation is named after it,
        e.g. conv1_norm.

    Raises:
      InputError: there is no batch normalisation in it.
    """
    config = backbone.get_config()
    if config.get("normalization") != "batch_norm":
        raise InputError(f"{backbone.name}: has no batch normalisation to merge into its kernels")
    folded = type(backbone).from_config({**config, "normalization": "none"})
    norms = {
        layer.name: layer
        for layer in backbone.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    }
    for layer in folded.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            weights = [
                np.asarray(weight, np.float64)
                for weight in backbone.get_layer(layer.name).get_weights()
            ]
            norm = norms.get(f"{layer.name}_norm")
            layer.set_weights(_folded(weights, norm) if norm else weights)
    folded.weights_from = dict(
        backbone.weights_from or {}, batch_normalization="merged into the kernels"
    )
    return folded


def _folded(weights, norm):
    """Merges a BatchNormalization into [kernel] or [kernel, bias]: returns [kernel, bias].

    Output channels are last.
    """
    kernel, bias = [*weights, 0.0][:2]
    mean, variance = (
        keras.ops.convert_to_numpy(value).astype(np.float64)
        for value in (norm.moving_mean, norm.moving_variance)
    )
    gamma = keras.ops.convert_to_numpy(norm.gamma).astype(np.float64) if norm.scale else 1.0
    beta = keras.ops.convert_to_numpy(norm.beta).astype(np.float64) if norm.center else 0.0
    factor = gamma / np.sqrt(variance + norm.epsilon)
    return [kernel * factor, beta + (bias - mean) * factor]

"""Predicting something at every place of a map.

Targets are brought to the map's size, and a convolutional head answers.
"""

import functools

import keras
import numpy as np
import tensorflow as tf

from ccssl_tf.models.backbone import batch_normalization


@functools.cache
def averaging_matrix(size: int, cells: int) -> np.ndarray:
    """Returns [cells, size] float32, whose row i averages the i-th part of a line.

    The parts are equal; pixels they share count in part.
    """
    edges = np.linspace(0, size, cells + 1)
    pixel = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return (np.maximum(overlap, 0) * cells / size).astype(np.float32)


def area_average(images, height: int, width: int):
    """Averages [B, H, W, C] float32 over the cells of a grid: [B, height, width, C].

    The result is the same on every device.
    """
    rows, columns = (
        averaging_matrix(images.shape[1], height),
        averaging_matrix(images.shape[2], width),
    )
    return tf.einsum("hy,byxc,wx->bhwc", rows, images, columns)


def last_convolution(backbone) -> str:
    """Returns the name of the last convolution's endpoint: conv5, conv5_3."""
    return [name for name in backbone.endpoint_names if name.startswith("conv")][-1]


def pixel_head(maps, num_classes: int, units: int, small: bool, name: str):
    """Returns logits [B, h, w, num_classes] float32 over maps [B, h, w, C].

    As in the released AlexNet of Zhang et al. 2016, whose fully connected layers run at every
    place: fc6 (6x6, dilation 2), fc7 (1x1), each with batch normalisation and a rectifier. Small
    images: fc6 is 3x3 and there is no fc7.
    """
    layers = (
        [("fc6", dict(kernel_size=3))]
        if small
        else [("fc6", dict(kernel_size=6, dilation_rate=2)), ("fc7", dict(kernel_size=1))]
    )
    for layer, options in layers:
        convolution = keras.layers.Conv2D(
            units,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            name=f"{name}_{layer}",
            **options,
        )
        maps = keras.layers.ReLU()(batch_normalization(f"{name}_{layer}_norm")(convolution(maps)))
    initializer = keras.initializers.RandomNormal(stddev=0.01)
    return keras.layers.Conv2D(
        num_classes, 1, kernel_initializer=initializer, dtype="float32", name=f"{name}_logits"
    )(maps)

"""Statistics of batch normalisation measured anew, on the images a network is going to be used on.

A network that was trained on tiles has the statistics of tiles, and a random one has mean 0 and
variance 1, which are those of nothing. Measured on whole images ("precise batch normalisation", Wu
and Johnson 2021, section 3), the same kernels give other, better scaled features.
"""

from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

from ccssl_tf.models.backbone import Backbone
from ccssl_tf.runs.errors import InputError


def batch_normalizations(backbone: Backbone) -> list[keras.layers.BatchNormalization]:
    """Returns the batch normalisations of a backbone, in the order of its layers.

    Raises:
      InputError: it has none.
    """
    layers = [
        layer for layer in backbone.layers if isinstance(layer, keras.layers.BatchNormalization)
    ]
    if not layers:
        raise InputError(
            f"{backbone.name}: has no batch normalisation, there is nothing to calibrate; use it "
            "as it is"
        )
    return layers


def calibrate_batch_normalization(backbone: Backbone, batches: Iterable) -> int:
    """Replaces the moving mean and variance of every batch normalisation by those of `batches`.

    Every batch is normalised by its own statistics, as in training; the population's mean is the
    mean of the batches' means, its variance the mean of the batches' variances and squared means
    less the squared population mean. No kernel is changed.

    Args:
      backbone: with batch normalisation.
      batches: of images [B, S, S, 3] uint8, all of one size B, at least one.

    Returns:
      The number of images read.

    Raises:
      InputError: no batch normalisation, or no batch.

    >>> from ccssl_tf import AlexNet
    >>> from ccssl_tf.models.batch_statistics import calibrate_batch_normalization
    >>> backbone = AlexNet(stem="small", width_multiplier=0.1, fc_units=(), image_size=32)
    >>> calibrate_batch_normalization(backbone, [np.zeros([4, 32, 32, 3], np.uint8)])
    4
    """
    layers = batch_normalizations(backbone)
    momenta = [layer.momentum for layer in layers]
    was_trainable = [layer.trainable for layer in layers]

    @tf.function(autograph=False, reduce_retracing=True)
    def statistics(images):
        backbone(backbone.normalize(images), training=True)
        return [(layer.moving_mean.value, layer.moving_variance.value) for layer in layers]

    num_images, num_batches = 0, 0
    means = [np.zeros(layer.moving_mean.shape) for layer in layers]
    squares = [np.zeros(layer.moving_mean.shape) for layer in layers]
    try:
        for layer in layers:
            layer.trainable, layer.momentum = True, 0.0  # The moving ones are the batch's own.
        for images in batches:
            for number, (mean, variance) in enumerate(statistics(images)):
                mean = mean.numpy().astype(np.float64)
                means[number] += mean
                squares[number] += variance.numpy() + mean**2
            num_images, num_batches = num_images + len(images), num_batches + 1
    finally:
        for layer, momentum, trainable in zip(layers, momenta, was_trainable, strict=True):
            layer.momentum, layer.trainable = momentum, trainable
    if not num_batches:
        raise InputError("no batch of images to measure the statistics on; use a smaller batch")
    for layer, mean, square in zip(layers, means, squares, strict=True):
        mean /= num_batches
        layer.moving_mean.assign(mean)
        layer.moving_variance.assign(np.maximum(square / num_batches - mean**2, 0))
    return num_images

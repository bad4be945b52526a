"""Data-dependent rescaling of a network before fine-tuning.

It is the "magic init" of Kraehenbuehl et al. 2016.

Weights learned by a pretext task may have scales at which one layer changes much faster than
another. Rescaling leaves what each layer computes and makes the relative change of all layers
equal: with C_k = rms(gradient of kernel k) / rms(kernel k), where random normal gradients come down
from the top, kernel k is multiplied by sqrt(C_k / C), C the geometric mean times the spread of the
output to the power 1 / layers, so that the output ends with a standard deviation of 1 (section 3.2;
the constants are those of the released program: batches of 16, up to 10 rounds). Biases follow what
comes in, so that a network of convolutions, rectifiers and pools computes the same, times the
product of the scales; local response normalisation is not homogeneous, there it holds nearly.
Layers that have not been trained first get outputs of mean 0.1 and variance 1 (section 3.1).
"""

import keras
import numpy as np
import tensorflow as tf

from ccssl_tf.models.backbone import Backbone
from ccssl_tf.runs.errors import InputError

BATCH_SIZE = 16
NUM_BATCHES = 10
_ROUNDS = 10
_FRESH_BIAS = 0.1
# Ratios closer to their target than this (natural logarithm) are equal.
_TOLERANCE = 0.01


def refuse_batch_normalization(backbone: Backbone):
    """Raises InputError for a network whose batch normalisation would undo any scale."""
    if any(isinstance(layer, keras.layers.BatchNormalization) for layer in backbone.layers):
        raise InputError(
            f"--rescale_init: {backbone.name} has batch normalisation, which undoes any scale; "
            "merge it with --normalization=none"
        )


def rescale(backbone: Backbone, batches, *, fresh=(), seed: int = 0) -> dict[str, float]:
    """Rescales every convolution and fully connected layer of `backbone` in place.

    Args:
      backbone: without batch normalisation, built in no distribution strategy.
      batches: at least one [B, H, W, 3] float32, as `backbone.normalize` makes them.
      fresh: names of layers whose weights are random; they are first set to unit variance.
      seed: of the random gradients.

    Returns:
      Layer name -> what its kernel was multiplied by, after the fresh ones were set.

    Raises:
      InputError: batch normalisation, which undoes any scale, or a layer without gradients on these
        images.
    """
    refuse_batch_normalization(backbone)
    layers = [
        layer
        for layer in backbone.layers
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)
    ]
    for layer in layers:
        if layer.name in fresh:
            _standardize(backbone, layer, batches)
    measure = _measurement(backbone, layers)
    first_biases = [keras.ops.convert_to_numpy(layer.bias) for layer in layers]
    totals, first_sizes = np.ones(len(layers)), None
    for _ in range(_ROUNDS):
        sizes, ratios, spread = _averages(measure, layers, batches, np.random.default_rng(seed))
        first_sizes = sizes if first_sizes is None else first_sizes
        dead = [
            layer.name
            for layer, ratio in zip(layers, ratios, strict=True)
            if not (np.isfinite(ratio) and ratio > 0)
        ]
        if dead or not spread > 0:
            raise InputError(
                f"--rescale_init: {(dead or [layers[-1].name])[0]} has no gradient on these "
                "images; its units are dead"
            )
        target = np.exp(np.mean(np.log(ratios))) * spread ** (1 / len(layers))
        if np.all(np.abs(np.log(ratios / target)) < _TOLERANCE):
            break
        scales = np.sqrt(ratios / target)
        totals *= scales
        incoming = sizes / first_sizes * np.concatenate([[1], np.cumprod(scales)[:-1]])
        for layer, scale, total, size, bias in zip(
            layers, scales, totals, incoming, first_biases, strict=True
        ):
            layer.kernel.assign(layer.kernel * scale)
            layer.bias.assign(bias * total * size)
    return {layer.name: float(total) for layer, total in zip(layers, totals, strict=True)}


def _standardize(backbone, layer, batches):
    """Gives each output channel of one layer mean 0.1 and variance 1 over the batches."""
    layer.bias.assign(np.zeros(layer.bias.shape))
    probe = tf.function(keras.Model(backbone.input, layer.output), autograph=False)
    axes = list(range(layer.output.ndim - 1))
    count, total, squares = 0, 0.0, 0.0
    for images in batches:
        output = tf.cast(probe(images, training=False), tf.float64)
        count += np.prod(output.shape[:-1])
        total, squares = (
            total + tf.reduce_sum(output, axes).numpy(),
            squares + tf.reduce_sum(output**2, axes).numpy(),
        )
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    deviation = np.where(deviation > 1e-8 * np.abs(mean).max(), deviation, 1)
    layer.kernel.assign(keras.ops.convert_to_numpy(layer.kernel) / deviation)
    layer.bias.assign(_FRESH_BIAS - mean / deviation)


def _measurement(backbone, layers):
    """Returns a compiled (images, gradient of the output) -> measured numbers.

    They are mean |input| [L], sums of squared kernel gradients [L], and the output.
    """
    probe = keras.Model(backbone.input, [*(layer.input for layer in layers), layers[-1].output])

    @tf.function(autograph=False)
    def measure(images, direction):
        with tf.GradientTape() as tape:
            *inputs, output = probe(images, training=False)
            objective = tf.reduce_sum(output * direction)
        gradients = tape.gradient(objective, [layer.kernel.value for layer in layers])
        sizes = tf.stack([tf.reduce_mean(tf.abs(x)) for x in inputs])
        return (
            sizes,
            tf.stack([tf.reduce_sum(tf.square(gradient)) for gradient in gradients]),
            output,
        )

    measure.output_shape = lambda images: tuple(probe.compute_output_shape(images.shape)[-1])
    return measure


def _averages(measure, layers, batches, random):
    """Returns averages over all batches.

    They are mean |input| of each layer [L], gradient ratios [L], and the mean over channels of
    the output's deviation.
    """
    sizes, squares, outputs = 0.0, 0.0, []
    for images in batches:
        direction = random.normal(size=measure.output_shape(images)).astype(np.float32)
        size, square, output = measure(images, direction)
        sizes, squares = (
            sizes + size.numpy().astype(np.float64),
            squares + square.numpy().astype(np.float64),
        )
        outputs.append(output.numpy().reshape(-1, output.shape[-1]))
    kernels = np.array(
        [np.sum(np.square(layer.kernel.numpy(), dtype=np.float64)) for layer in layers]
    )
    spread = np.concatenate(outputs).std(axis=0, dtype=np.float64).mean()
    return (
        sizes / len(batches),
        np.sqrt(squares / len(batches) / np.maximum(kernels, 1e-300)),
        spread,
    )

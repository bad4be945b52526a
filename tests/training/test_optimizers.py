"""Optimizers, schedules, and Caffe's decay, clipping and learning rate of biases."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.runs.errors import FlagError
from ccssl_tf.training import optimizers
from ccssl_tf.training.optimizers import OptimizerSettings, make_optimizer

SGD = OptimizerSettings(learning_rate=0.1)


def dense(units=3):
    layer = keras.layers.Dense(units)
    layer.build([None, 4])
    return layer


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("scaled", [False, True])
def test_decay_is_caffes(scaled, biases):
    layer = dense()
    layer.bias.assign([1.0, -2.0, 3.0])
    optimizer = make_optimizer(SGD)
    optimizer = (
        keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=8.0) if scaled else optimizer
    )
    gradients = [tf.ones([4, 3]), tf.ones([3])]
    optimizer.build(layer.trainable_variables)
    kernel, bias = optimizers.add_decay(
        optimizer, gradients, layer.trainable_variables, 0.3, biases
    )
    scale = 8 if scaled else 1
    np.testing.assert_allclose(kernel, 1 + 0.3 * scale * layer.kernel.numpy(), rtol=1e-6)
    np.testing.assert_allclose(bias, 1 + 0.3 * scale * layer.bias.numpy() * biases, rtol=1e-6)


def test_both_kernels_of_a_separable_convolution_decay():
    layer = keras.layers.SeparableConv2D(4, 3)
    layer.build((None, 8, 8, 3))
    gradients = [tf.zeros(variable.shape) for variable in layer.trainable_variables]
    decayed = optimizers.add_decay(
        keras.optimizers.SGD(), gradients, layer.trainable_variables, 0.5
    )
    for gradient, variable in zip(
        decayed[:2], [layer.depthwise_kernel, layer.pointwise_kernel], strict=True
    ):
        np.testing.assert_allclose(gradient, 0.5 * variable.numpy(), rtol=1e-6)
    assert not decayed[2].numpy().any()


def test_gradients_are_clipped_by_their_common_length():
    optimizer = make_optimizer(SGD)
    gradients = [tf.constant([3.0, 0.0]), tf.constant([[4.0]])]
    for norm, factor in ((10.0, 1.0), (5.0, 1.0), (1.0, 0.2)):
        clipped = optimizers.clip_gradients(optimizer, gradients, norm)
        np.testing.assert_allclose(clipped[0], [3 * factor, 0], rtol=1e-6)
        np.testing.assert_allclose(clipped[1], [[4 * factor]], rtol=1e-6)


def test_momentum_zero_is_plain_descent():
    optimizer = make_optimizer(
        OptimizerSettings(learning_rate=0.5, learning_rate_schedule="constant", momentum=0.0)
    )
    variable = keras.Variable([1.0])
    for _ in range(2):
        optimizer.apply([tf.constant([1.0])], [variable])
    np.testing.assert_allclose(variable, [0.0])


def test_sgd_follows_caffes_update_over_steps():
    """v = 0.9 v + lr (g + wd w); w -= v; biases: no decay, twice the learning rate."""
    layer = dense()
    kernel, bias = layer.kernel.numpy().astype(np.float64), layer.bias.numpy().astype(np.float64)
    optimizer = make_optimizer(OptimizerSettings(learning_rate=0.1, learning_rate_steps=2))
    optimizer.build(layer.trainable_variables)
    velocity = [np.zeros_like(kernel), np.zeros_like(bias)]
    random = np.random.default_rng(0)
    for step in range(5):
        gradient = [random.normal(size=kernel.shape), random.normal(size=bias.shape)]
        rate = 0.1 * 0.1 ** (step // 2)
        velocity[0] = 0.9 * velocity[0] + rate * (gradient[0] + 0.05 * kernel)
        velocity[1] = 0.9 * velocity[1] + 2 * rate * gradient[1]
        decayed = [gradient[0] + 0.05 * layer.kernel.numpy(), gradient[1]]
        tensors = [tf.constant(g, tf.float32) for g in decayed]
        optimizer.apply(
            optimizers.scale_bias_gradients(optimizer, tensors, layer.trainable_variables, 2.0),
            layer.trainable_variables,
        )
        kernel -= velocity[0]
        bias -= velocity[1]
        np.testing.assert_allclose(layer.kernel.numpy(), kernel, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(layer.bias.numpy(), bias, rtol=1e-4, atol=1e-6)


def test_bias_multiplier_leaves_adam_alone():
    layer = dense()
    gradients = [tf.ones([4, 3]), tf.ones([3])]
    adam = make_optimizer(OptimizerSettings(optimizer="adam", learning_rate=1e-3))
    scaled = optimizers.scale_bias_gradients(adam, gradients, layer.trainable_variables, 2.0)
    np.testing.assert_array_equal(scaled[1], gradients[1])


@pytest.mark.parametrize(
    "schedule, step, expected",
    [
        ("constant", 99, 1),
        ("step", 9, 1),
        ("step", 10, 0.1),
        ("step", 25, 0.01),
        ("cosine", 0, 1),
        ("cosine", 50, 0.5),
        ("cosine", 100, 0),
    ],
)
def test_schedules(schedule, step, expected):
    settings = OptimizerSettings(
        learning_rate=1.0, learning_rate_schedule=schedule, learning_rate_steps=10
    )
    optimizer = make_optimizer(settings, train_steps=100)
    optimizer.build(dense().trainable_variables)
    optimizer.iterations.assign(step)
    np.testing.assert_allclose(float(optimizer.learning_rate), expected, atol=1e-6)


def test_a_drop_may_leave_more_than_a_tenth():
    """The schedule of Noroozi et al. 2017: a tenth of it off every so many steps."""
    settings = OptimizerSettings(
        learning_rate=1e-4, learning_rate_steps=10, learning_rate_factor=0.9
    )
    optimizer = make_optimizer(settings, 100)
    optimizer.build(dense().trainable_variables)
    for step, expected in ((0, 1e-4), (9, 1e-4), (10, 0.9e-4), (35, 0.729e-4)):
        optimizer.iterations.assign(step)
        np.testing.assert_allclose(float(optimizer.learning_rate), expected, rtol=1e-5)


def test_the_papers_settings_are_the_default():
    settings = OptimizerSettings()
    optimizer = make_optimizer(settings)
    assert type(optimizer) is keras.optimizers.SGD and optimizer.momentum == 0.9
    optimizer.build(dense().trainable_variables)
    for step, expected in ((0, 0.01), (99_999, 0.01), (100_000, 0.001)):
        optimizer.iterations.assign(step)
        np.testing.assert_allclose(float(optimizer.learning_rate), expected, rtol=1e-5)
    assert (settings.weight_decay, settings.decay_biases) == (5e-4, False)
    assert (settings.bias_learning_rate_multiplier, settings.clip_gradients) == (2.0, 0.0)


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(optimizer="rmsprop"), "--optimizer=rmsprop: must be one of sgd, adam"),
        (dict(momentum=1.5), "--momentum=1.5: must be 1 or less"),
        (dict(learning_rate=-1.0), "--learning_rate=-1.0: must be 0 or more"),
        (dict(learning_rate=float("nan")), "--learning_rate=nan: must be a number"),
        (dict(learning_rate_schedule="line"), "--learning_rate_schedule=line: must be one of"),
        (dict(learning_rate_steps=0), "--learning_rate_steps=0: must be 1 or more"),
        (dict(weight_decay=-0.1), "--weight_decay=-0.1: must be 0 or more"),
        (dict(clip_gradients=-1.0), "--clip_gradients=-1.0: must be 0 or more"),
    ],
)
def test_settings_that_can_never_be_right_are_refused(fields, message):
    with pytest.raises(FlagError, match=f"^{message}"):
        OptimizerSettings(**fields)

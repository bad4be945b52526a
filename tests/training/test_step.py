"""One step: what it adds up, that parts make the whole, what decays, is clipped and is updated."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.training.optimizers import OptimizerSettings, make_optimizer
from ccssl_tf.training.step import step_function

BATCH = 8
PLAIN = dict(
    learning_rate=0.5,
    learning_rate_schedule="constant",
    momentum=0.0,
    weight_decay=0.0,
    bias_learning_rate_multiplier=1.0,
)


class Regression:
    """Half the squared distance of a layer's answers from the targets, and its largest answer."""

    def loss(self, model, batch, training):
        assert training
        answers = model(batch["x"])
        losses = 0.5 * tf.reduce_sum((answers - batch["y"]) ** 2, -1)
        return losses, dict(largest=tf.reduce_max(answers, -1))


def layer():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input([4]), keras.layers.Dense(3)])
    model.layers[0].bias.assign([0.1, -0.2, 0.3])
    return model


def batch():
    random = np.random.default_rng(0)
    return dict(
        x=tf.constant(random.normal(size=[BATCH, 4]), tf.float32),
        y=tf.constant(random.normal(size=[BATCH, 3]), tf.float32),
    )


def gradients(model):
    """Of the mean loss of the batch, with respect to kernel and bias."""
    kernel, bias = (variable.numpy() for variable in model.trainable_variables)
    x, y = (value.numpy() for value in batch().values())
    wrong = x @ kernel + bias - y
    return x.T @ wrong / BATCH, wrong.mean(0)


def stepped(
    model=None, *, task=None, scaled=False, of=None, accumulate_steps=1, jit=False, **rules
):
    """Takes one step; returns kernel and bias before and after, and the sums."""
    model, rules = model or layer(), OptimizerSettings(**PLAIN | rules)
    optimizer = make_optimizer(rules)
    if scaled:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=16.0)
    optimizer.build(model.trainable_variables)
    before = [variable.numpy() for variable in model.trainable_variables]
    step = step_function(
        task or Regression(),
        model,
        optimizer,
        tf.distribute.get_strategy(),
        rules,
        batch_size=BATCH,
        accumulate_steps=accumulate_steps,
        jit=jit,
    )
    sums = {name: value.numpy() for name, value in step(of or batch()).items()}
    return before, [variable.numpy() for variable in model.trainable_variables], sums


@pytest.mark.parametrize(
    "options",
    [
        {},
        dict(accumulate_steps=2),
        dict(accumulate_steps=8),
        dict(jit=True),
        dict(jit=True, accumulate_steps=4),
        dict(scaled=True),
        dict(scaled=True, accumulate_steps=4),
    ],
    ids=str,
)
def test_a_step_follows_the_gradient_of_the_mean_in_any_number_of_parts(options):
    of_kernel, of_bias = gradients(layer())
    (kernel, bias), after, sums = stepped(**options)
    np.testing.assert_allclose(after[0], kernel - 0.5 * of_kernel, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(after[1], bias - 0.5 * of_bias, rtol=1e-4, atol=1e-6)
    losses, metrics = Regression().loss(layer(), batch(), training=True)
    assert sums["images"] == BATCH and set(sums) == {"images", "loss", "largest"}
    np.testing.assert_allclose(sums["loss"], np.sum(losses), rtol=1e-5)
    np.testing.assert_allclose(sums["largest"], np.sum(metrics["largest"]), rtol=1e-5)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("parts", [1, 4])
def test_decay_and_the_bias_rate_are_applied_once_a_step(parts, scaled):
    of_kernel, of_bias = gradients(layer())
    rules = dict(weight_decay=0.1, bias_learning_rate_multiplier=2.0, scaled=scaled)
    (kernel, bias), after, _ = stepped(accumulate_steps=parts, **rules)
    expected = kernel - 0.5 * (of_kernel + 0.1 * kernel)
    np.testing.assert_allclose(after[0], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(after[1], bias - 0.5 * 2 * of_bias, rtol=1e-4, atol=1e-6)
    _, after, _ = stepped(accumulate_steps=parts, decay_biases=True, **rules)
    expected = bias - 0.5 * 2 * (of_bias + 0.1 * bias)
    np.testing.assert_allclose(after[1], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("parts", [1, 4])
def test_the_gradient_of_the_whole_batch_is_clipped_before_decay(parts, scaled):
    of_kernel, of_bias = gradients(layer())
    length = np.sqrt(np.sum(of_kernel**2) + np.sum(of_bias**2))
    assert length > 0.1
    rules = dict(clip_gradients=0.1, weight_decay=0.01, scaled=scaled)
    (kernel, bias), after, _ = stepped(accumulate_steps=parts, **rules)
    expected = kernel - 0.5 * (of_kernel * 0.1 / length + 0.01 * kernel)
    np.testing.assert_allclose(after[0], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(after[1], bias - 0.5 * of_bias * 0.1 / length, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("scaled", [False, True])
def test_a_step_whose_gradient_overflows_is_skipped_where_the_loss_is_scaled(scaled):
    broken = dict(batch(), x=tf.fill([BATCH, 4], np.float32(np.inf)))
    before, after, sums = stepped(of=broken, scaled=scaled)
    assert not np.isfinite(sums["loss"])
    for ours, theirs in zip(before, after, strict=True):
        assert np.array_equal(ours, theirs) is scaled


def test_weights_that_a_task_does_not_use_get_no_gradient_and_still_decay():
    class First(Regression):
        def loss(self, model, batch, training):
            return tf.reduce_sum(model.layers[0](batch["x"]), -1), {}

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input([4]), keras.layers.Dense(3), keras.layers.Dense(2)])
    before, after, sums = stepped(model, task=First(), weight_decay=0.1)
    np.testing.assert_allclose(after[2], before[2] * (1 - 0.5 * 0.1), rtol=1e-6)
    np.testing.assert_array_equal(after[3], before[3])
    assert not np.array_equal(before[0], after[0]) and set(sums) == {"images", "loss"}


def test_batches_of_other_sizes_are_traced_once():
    class Traced(Regression):
        traced = 0

        def loss(self, model, batch, training):
            Traced.traced += 1
            losses, metrics = super().loss(model, dict(x=batch["x"][0], y=batch["y"][0]), training)
            return losses, metrics

    model, rules = layer(), OptimizerSettings(**PLAIN)
    optimizer = make_optimizer(rules)
    optimizer.build(model.trainable_variables)
    strategy = tf.distribute.get_strategy()
    step = step_function(Traced(), model, optimizer, strategy, rules, batch_size=1)
    for size in (3, 5, 7, 9):
        sums = step(dict(x=tf.ones([1, size, 4]), y=tf.ones([1, size, 3])))
        assert float(sums["images"]) == size
    assert Traced.traced <= 2

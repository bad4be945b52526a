"""Grouped convolution against Keras's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.layers import GroupedConv2D

CASES = [
    dict(groups=2, padding="same"),
    dict(groups=2, padding="valid", strides=2),
    dict(groups=4, padding="same", strides=(1, 2), activation="relu"),
    dict(groups=2, padding="same", use_bias=False),
    dict(groups=2, padding="same", dilation_rate=2),
    dict(groups=1, padding="same"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients_are_those_of_keras(case):
    random = np.random.default_rng(0)
    x = tf.constant(random.normal(size=[2, 9, 8, 8]), tf.float32)
    ours, theirs = GroupedConv2D(12, 3, **case), keras.layers.Conv2D(12, 3, **case)
    ours.build(x.shape), theirs.build(x.shape)
    weights = [random.normal(size=weight.shape) for weight in theirs.get_weights()]
    assert [weight.shape for weight in ours.get_weights()] == [weight.shape for weight in weights]
    assert ours.kernel.shape == (3, 3, 8 // case["groups"], 12)
    direction = None
    results = []
    for layer in (ours, theirs):
        layer.set_weights(weights)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            direction = (
                random.normal(size=y.shape).astype("float32") if direction is None else direction
            )
            loss = tf.reduce_sum(y * direction)
        results.append(
            [y, *tape.gradient(loss, [x, *(weight.value for weight in layer.trainable_weights)])]
        )
        assert layer.compute_output_shape(x.shape) == y.shape
    for found, expected in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_groups_do_not_see_each_other():
    layer = GroupedConv2D(4, 3, groups=2, padding="same")
    x = np.random.default_rng(1).normal(size=[1, 6, 6, 4]).astype("float32")
    before = layer(x).numpy()
    x[..., 2:] += 1
    after = layer(x).numpy()
    np.testing.assert_array_equal(after[..., :2], before[..., :2])
    assert np.abs(after[..., 2:] - before[..., 2:]).min() > 0


def test_no_operation_needs_xla(tmp_path):
    """Keras's own layer exports a graph that an XLA-less runtime refuses."""
    layer = GroupedConv2D(4, 3, groups=2)
    graph = (
        tf.function(layer)
        .get_concrete_function(tf.TensorSpec([None, 8, 8, 4]))
        .graph.as_graph_def()
    )
    assert "_XlaMustCompile" not in str(graph)

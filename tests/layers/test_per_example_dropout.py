"""Dropout masks are functions of each example's seed, wherever in a batch it stands."""

import keras
import numpy as np
import tensorflow as tf

from ccssl_tf.layers import PerExampleDropout
from ccssl_tf.layers.per_example_dropout import per_example_seeds


def seeds(*indices, epoch=0):
    return tf.constant([[epoch, index] for index in indices], tf.int64)


def drop(layer, x, seed):
    with per_example_seeds(seed):
        return layer(x, training=True).numpy()


def test_rate_and_scale():
    for rate in (0.1, 0.5, 0.9):
        found = drop(PerExampleDropout(rate, stream=0), tf.ones([64, 4096]), seeds(*range(64)))
        values = np.unique(found)
        np.testing.assert_allclose(values, [0, 1 / (1 - rate)], rtol=1e-6)
        # Six standard deviations of 262,144 coin flips.
        assert abs(np.mean(found == 0) - rate) < 6 * np.sqrt(rate * (1 - rate) / found.size)
        assert np.ptp(np.mean(found == 0, axis=1)) < 0.1


def test_nothing_is_dropped_outside_training_or_at_rate_zero():
    x = tf.random.stateless_uniform([4, 100], [0, 0])
    with per_example_seeds(seeds(0, 1, 2, 3)):
        np.testing.assert_array_equal(PerExampleDropout(0.5, stream=0)(x), x)
        np.testing.assert_array_equal(PerExampleDropout(0.5, stream=0)(x, training=False), x)
        np.testing.assert_array_equal(PerExampleDropout(0.0, stream=0)(x, training=True), x)


def test_masks_do_not_depend_on_the_place_in_the_batch():
    layer = PerExampleDropout(0.5, stream=3)
    x = tf.ones([1, 200])
    alone = {index: drop(layer, x, seeds(index))[0] for index in range(6)}
    assert len({mask.tobytes() for mask in alone.values()}) == 6
    together = drop(layer, tf.ones([4, 200]), seeds(5, 2, 0, 2))
    for row, index in enumerate((5, 2, 0, 2)):
        np.testing.assert_array_equal(together[row], alone[index])


def test_masks_differ_between_epochs_and_layers():
    x = tf.ones([2, 1000])
    masks = [
        drop(PerExampleDropout(0.5, stream=0), x, seeds(0, 1)),
        drop(PerExampleDropout(0.5, stream=1), x, seeds(0, 1)),
        drop(PerExampleDropout(0.5, stream=0), x, seeds(0, 1, epoch=1)),
    ]
    masks = [mask > 0 for mask in masks]
    for first in range(3):
        for second in range(first):
            # Independent masks agree in half of the places.
            assert abs(np.mean(masks[first] == masks[second]) - 0.5) < 0.06


def test_tiles_share_their_examples_seed_but_not_its_mask():
    layer = PerExampleDropout(0.5, stream=0)
    whole = drop(layer, tf.ones([3 * 9, 50]), seeds(0, 1, 2)).reshape(3, 9, 50)
    assert len({mask.tobytes() for mask in whole.reshape(27, 50)}) == 27
    for index in range(3):
        np.testing.assert_array_equal(drop(layer, tf.ones([9, 50]), seeds(index)), whole[index])


def test_sizes_may_be_unknown():
    layer = PerExampleDropout(0.5, stream=0)

    @tf.function(input_signature=[tf.TensorSpec([None, 50]), tf.TensorSpec([None, 2], tf.int64)])
    def step(x, seed):
        with per_example_seeds(seed):
            return layer(x, training=True)

    np.testing.assert_array_equal(
        step(tf.ones([18, 50]), seeds(0, 1)), drop(layer, tf.ones([18, 50]), seeds(0, 1))
    )


def test_without_seeds_it_is_plain_dropout():
    layer = PerExampleDropout(0.25, stream=0)
    x = tf.ones([50, 1000])
    first, second = layer(x, training=True).numpy(), layer(x, training=True).numpy()
    assert np.any(first != second)
    for found in (first, second):
        np.testing.assert_allclose(np.unique(found), [0, 4 / 3], rtol=1e-6)
        assert abs(np.mean(found == 0) - 0.25) < 0.02


def test_whole_rows_are_dropped_where_asked_for():
    layer, x = PerExampleDropout(0.3, stream=0, drops_rows=True), tf.ones([3000, 2, 3])
    for found in (drop(layer, x, seeds(*range(3000))), layer(x, training=True).numpy()):
        np.testing.assert_array_equal(found, np.broadcast_to(found[:, :1, :1], found.shape))
        np.testing.assert_allclose(np.unique(found), [0, 1 / 0.7], rtol=1e-6)
        assert abs(np.mean(found == 0) - 0.3) < 0.05
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert copy.drops_rows


def test_the_context_ends_even_by_an_error():
    layer = PerExampleDropout(0.5, stream=0)
    x, same = tf.ones([1, 1000]), seeds(0)
    try:
        with per_example_seeds(seeds(1)), per_example_seeds(same):
            raise RuntimeError
    except RuntimeError:
        pass
    assert np.any(layer(x, training=True) != drop(layer, x, same))


def test_gradient_is_the_mask():
    layer, x = PerExampleDropout(0.5, stream=0), tf.ones([2, 100])
    with tf.GradientTape() as tape, per_example_seeds(seeds(0, 1)):
        tape.watch(x)
        y = layer(x, training=True)
    np.testing.assert_array_equal(tape.gradient(y, x), y)


def test_half_precision_and_config():
    layer = PerExampleDropout(0.5, stream=4, dtype="float16")
    assert drop(layer, tf.ones([2, 8], tf.float16), seeds(0, 1)).dtype == np.float16
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert (copy.rate, copy.stream) == (0.5, 4)
    assert layer.compute_output_shape((None, 8)) == (None, 8)

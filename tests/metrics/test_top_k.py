"""Against a sort in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.metrics.top_k import in_top_k


@pytest.mark.parametrize("k", [1, 2, 5, 9])
def test_a_stable_sort_finds_the_same(k):
    random = np.random.default_rng(k)
    logits = random.integers(0, 6, [200, 9]).astype(np.float32)  # Many ties.
    labels = random.integers(0, 9, 200)
    order = np.argsort(-logits, axis=1, kind="stable")
    expected = [label in row[:k] for label, row in zip(labels, order, strict=True)]
    found = in_top_k(tf.constant(logits), tf.constant(labels), k)
    assert found.dtype == tf.float32
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


def test_the_first_is_what_argmax_answers():
    logits = np.random.default_rng(0).integers(0, 3, [100, 4]).astype(np.float32)
    labels = np.full(100, 2)
    np.testing.assert_array_equal(
        in_top_k(logits, tf.constant(labels), 1), np.argmax(logits, 1) == labels
    )


def test_a_logit_that_is_not_finite_is_not_found():
    logits = tf.constant([[np.nan, 1, 2], [np.inf, 1, 2], [0, 1, 2]], tf.float32)
    np.testing.assert_array_equal(in_top_k(logits, tf.constant([0, 0, 0]), 3), [0, 0, 1])

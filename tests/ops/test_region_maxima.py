"""Maxima of rectangles against slices of NumPy; `tests/layers/test_roi_pool.py` compares gradients
with Caffe's.
"""

import numpy as np
import tensorflow as tf

from ccssl_tf.ops.region_maxima import rectangle_maxima


def test_every_rectangle_of_a_map():
    x = np.random.default_rng(0).normal(size=[2, 5, 6, 2]).astype(np.float32)
    spans = [
        (n, t, b, left, r)
        for n in range(2)
        for t in range(6)
        for b in range(6)
        for left in range(7)
        for r in range(7)
    ]
    found = rectangle_maxima(x, *np.int32(spans).T)
    for row, (n, t, b, left, r) in zip(found.numpy(), spans, strict=True):
        part = x[n, t:b, left:r]
        np.testing.assert_array_equal(row, part.max((0, 1)) if part.size else 0)


def test_no_rectangles_and_only_empty_ones():
    x = tf.ones([1, 3, 3, 2])
    assert rectangle_maxima(x, *np.zeros([5, 0], np.int32)).shape == (0, 2)
    with tf.GradientTape() as tape:
        tape.watch(x)
        found = rectangle_maxima(x, *np.int32([[0], [2], [2], [0], [1]]))
    np.testing.assert_array_equal(found, [[0, 0]])
    np.testing.assert_array_equal(tape.gradient(found, x), tf.zeros_like(x))

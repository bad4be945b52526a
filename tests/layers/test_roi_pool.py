"""RoI pooling against Caffe's loops."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.layers import RoIPool, roi_pool


def caffe(x, rois, pooled_height, pooled_width, scale, upstream=None):
    """roi_pooling_layer.cpp, loop by loop: the pooled maps, or, given upstream gradients, the
    gradient.
    """
    batch, height, width, channels = x.shape
    pooled = np.zeros([len(rois), pooled_height, pooled_width, channels], np.float32)
    gradient = np.zeros(x.shape, np.float64)

    def rounded(value):
        value = float(np.float32(value) * np.float32(scale))
        return int(math.copysign(math.floor(abs(value) + 0.5), value))

    for n, (image, *corners) in enumerate(rois):
        left, top, right, bottom = (rounded(value) for value in corners)
        step_h = np.float32(max(bottom - top + 1, 1)) / np.float32(pooled_height)
        step_w = np.float32(max(right - left + 1, 1)) / np.float32(pooled_width)
        for c in range(channels):
            for ph in range(pooled_height):
                for pw in range(pooled_width):
                    rows = [
                        min(max(int(f) + top, 0), height)
                        for f in (np.floor(ph * step_h), np.ceil(np.float32(ph + 1) * step_h))
                    ]
                    columns = [
                        min(max(int(f) + left, 0), width)
                        for f in (np.floor(pw * step_w), np.ceil(np.float32(pw + 1) * step_w))
                    ]
                    best, place = -np.inf, None
                    for h in range(*rows):
                        for w in range(*columns):
                            if x[int(image), h, w, c] > best:
                                best, place = x[int(image), h, w, c], (h, w)
                    if place:
                        pooled[n, ph, pw, c] = best
                        if upstream is not None:
                            gradient[int(image), *place, c] += upstream[n, ph, pw, c]
    return pooled if upstream is None else gradient


def random_rois(random, count, batch, width, height):
    """Regions in pixels: inside, reaching outside, inverted and tiny ones."""
    corners = random.uniform(-0.2, 1.2, [count, 2, 2]) * [width, height]
    boxes = np.concatenate([corners.min(1), corners.max(1)], 1)
    boxes[1::5, 2:] = boxes[1::5, :2] + random.uniform(0, 10, [len(boxes[1::5]), 2])
    boxes[0] = boxes[0, [2, 3, 0, 1]]
    boxes[2] = [0, 0, width - 1, height - 1]
    return np.hstack([random.integers(0, batch, [count, 1]), boxes]).astype(np.float32)


CASES = [
    dict(shape=(2, 9, 13, 3), pooled=(6, 6), scale=1 / 16),
    dict(shape=(1, 38, 21, 2), pooled=(6, 6), scale=1 / 8),
    dict(shape=(2, 17, 12, 2), pooled=(7, 3), scale=0.3),
    dict(shape=(3, 2, 5, 2), pooled=(1, 2), scale=1.0),
]


def run(layer, x, rois, upstream, dynamic):
    shape = [x.shape[0], None, None, x.shape[3]] if dynamic else x.shape
    signature = [tf.TensorSpec(shape), tf.TensorSpec([None, 5]), tf.TensorSpec(None)]

    @tf.function(autograph=False, input_signature=signature)
    def both(x, rois, upstream):
        with tf.GradientTape() as tape:
            tape.watch(x)
            pooled = layer(x, rois)
        return pooled, tape.gradient(pooled, x, upstream)

    return both(x, rois, upstream)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward_and_gradient_are_caffes(case, ties):
    random = np.random.default_rng(0)
    batch, height, width, _ = case["shape"]
    x = random.normal(size=case["shape"]).astype(np.float32)
    if ties:
        x = np.round(np.where(random.random(x.shape) < 0.3, -0.0, np.maximum(x, -1))).astype(
            np.float32
        )
    rois = random_rois(random, 25, batch, width / case["scale"], height / case["scale"])
    upstream = random.integers(-9, 10, [25, *case["pooled"], x.shape[3]]).astype(np.float32)
    layer = RoIPool(*case["pooled"], spatial_scale=case["scale"])
    settings = (*case["pooled"], case["scale"])
    expected, gradient = caffe(x, rois, *settings), caffe(x, rois, *settings, upstream)
    for dynamic in (False, True):
        pooled, found = run(layer, x, rois, upstream, dynamic)
        np.testing.assert_array_equal(pooled, expected)
        np.testing.assert_array_equal(found, gradient)
    np.testing.assert_array_equal(layer(x, rois), expected)


def test_other_backends_pool_the_same(monkeypatch):
    random = np.random.default_rng(1)
    x, rois = (
        random.normal(size=[2, 11, 7, 3]).astype(np.float32),
        random_rois(random, 30, 2, 7 * 16, 11 * 16),
    )
    expected = RoIPool()(x, rois)
    monkeypatch.setattr(roi_pool.keras.backend, "backend", lambda: "other")
    np.testing.assert_array_equal(RoIPool()(x, rois), expected)


def test_defaults_shapes_and_round_trip():
    layer = RoIPool()
    assert layer.compute_output_shape((2, 38, 57, 256), (128, 5)) == (128, 6, 6, 256)
    images, rois = keras.Input([None, None, 4]), keras.Input([5])
    model = keras.Model([images, rois], RoIPool(3, 2, spatial_scale=0.5)(images, rois))
    again = keras.models.model_from_json(model.to_json())
    assert again.layers[-1].get_config() == model.layers[
        -1
    ].get_config() and again.output_shape == (None, 3, 2, 4)
    x = np.arange(32, dtype=np.float32).reshape(1, 4, 2, 4)
    np.testing.assert_array_equal(
        again([x, np.float32([[0, 0, 0, 9, 9]])]), model([x, np.float32([[0, 0, 0, 9, 9]])])
    )


def test_halves_are_rounded_away_from_zero():
    np.testing.assert_array_equal(
        roi_pool.round_half_away(np.float32([0.5, 1.5, 2.5, -0.5, -1.5, 0.49999997, -0.2])),
        [1, 2, 3, -1, -2, 0, 0],
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_in_and_out(dtype):
    x = keras.ops.cast(np.random.default_rng(0).normal(size=[1, 8, 8, 2]), dtype)
    rois = np.float32([[0, 0, 0, 127, 127], [0, 20, 30, 60, 50]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        pooled = RoIPool(dtype=f"mixed_{dtype}")(x, rois)
    assert pooled.dtype == dtype and tape.gradient(pooled, x).dtype == dtype
    np.testing.assert_array_equal(
        tf.cast(pooled, tf.float32), RoIPool()(tf.cast(x, tf.float32), rois)
    )


def test_a_map_that_is_not_finite_shows():
    x = np.ones([1, 4, 4, 1], np.float32)
    x[0, 1, 1] = np.nan
    assert np.isnan(RoIPool(1, 1)(x, np.float32([[0, 0, 0, 63, 63]]))).all()

"""Colours as classes against loops in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.ops import color
from ccssl_tf.pretext import ab_bins


def random_colors(count):
    rgb = np.random.default_rng(0).integers(0, 256, [count, 3], np.uint8)
    return np.asarray(color.rgb_to_lab(rgb))[:, 1:]


def test_the_bins():
    centers = ab_bins.bin_centers()
    assert centers.shape == (313, 2) and centers.dtype == np.float32
    assert not (centers % 10).any() and len({tuple(center) for center in centers.tolist()}) == 313
    assert centers.min(0).tolist() == [-90, -110] and centers.max(0).tolist() == [100, 100]
    assert centers.tolist() == sorted(centers.tolist())
    assert (
        [0, 0] in centers.tolist()
        and [100, 90] not in centers.tolist()
        and [-90, -90] not in centers.tolist()
    )


def test_every_colour_lies_between_four_bins():
    known = {tuple(center) for center in ab_bins.bin_centers().tolist()}
    ab = random_colors(20_000)
    low = np.unique(np.floor(ab / 10) * 10, axis=0)
    assert {(a + i, b + j) for a, b in low.tolist() for i in (0, 10) for j in (0, 10)} <= known


def test_encoding_is_that_of_a_loop():
    centers = ab_bins.bin_centers().astype(float)
    # The grid's own points and middles of cells have ties.
    ab = np.concatenate([random_colors(50), [[0, 0], [5, 5], [10, -5], [97, 20]]]).astype("float32")
    encoded = ab_bins.soft_encode(tf.constant(ab).numpy().reshape(6, 9, 2)).numpy().reshape(-1, 313)
    nearest = ab_bins.nearest_bins(ab).numpy()
    for row, index, (a, b) in zip(encoded, nearest, ab.astype(float), strict=True):
        squares = [(a - x) ** 2 + (b - y) ** 2 for x, y in centers]
        chosen = sorted(range(313), key=lambda q: (np.float32(squares[q]), q))[:5]
        weights = np.zeros(313)
        for q in chosen:
            weights[q] = np.exp(-squares[q] / (2 * 5**2))
        np.testing.assert_allclose(row, weights / weights.sum(), rtol=1e-3, atol=1e-5)
        assert index == chosen[0] == np.argmax(row)


def test_decoding():
    centers = ab_bins.bin_centers()
    logits = np.random.default_rng(0).normal(size=[2, 3, 313]).astype("float32") * 3
    found = ab_bins.decode(logits).numpy()
    for place in np.ndindex(2, 3):
        weights = np.exp(logits[place].astype(float) / 0.38)
        np.testing.assert_allclose(
            found[place], (weights[:, None] * centers).sum(0) / weights.sum(), rtol=1e-3, atol=1e-2
        )
    np.testing.assert_allclose(
        ab_bins.decode(tf.one_hot([5, 200], 313) * 100), centers[[5, 200]], atol=1e-3
    )


def test_class_weights_are_equation_4():
    shares = np.zeros(313)
    shares[[3, 100, 101, 250]] = 0.5, 0.3, 0.15, 0.05
    raw = [1 / (0.5 * p + 0.5 / 313) for p in ab_bins.smooth(shares)]
    expected = np.array(raw) / sum(p * w for p, w in zip(shares, raw, strict=True))
    np.testing.assert_allclose(ab_bins.class_weights(shares, 0.5), expected, rtol=1e-6)
    np.testing.assert_allclose(ab_bins.class_weights(shares, 1.0), 1)


def test_smoothing_keeps_the_sum_and_blurs_to_neighbours():
    centers, shares = ab_bins.bin_centers(), np.zeros(313)
    middle = centers.tolist().index([0, 0])
    shares[middle] = 1
    smoothed = ab_bins.smooth(shares)
    assert smoothed.sum() == pytest.approx(1)
    beside = smoothed[centers.tolist().index([10, 0])]
    assert beside / smoothed[middle] == pytest.approx(np.exp(-100 / 50))
    expected = np.exp(-np.square(centers).sum(1) / 50)
    np.testing.assert_allclose(smoothed, expected / expected.sum(), rtol=1e-6, atol=1e-12)


def test_shares_of_classes_in_training_images(image_dir):
    def classes(images):
        return tf.cast(images[..., 0] > 127, tf.int32)

    shares = ab_bins.empirical_distribution(image_dir, 16, classes, 3)
    assert shares.shape == (3,) and shares[2] == 0 and shares.sum() == pytest.approx(1)
    assert 0.2 < shares[1] < 0.8

"""Boxes against loops in double precision."""

import math

import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.ops import boxes as box_ops


def random_boxes(seed, count, size=40):
    random = np.random.default_rng(seed)
    corners = random.integers(0, size - 1, [count, 2])
    return np.hstack(
        [corners, np.minimum(corners + random.integers(0, size // 2, [count, 2]), size - 1)]
    ).astype(np.float32)


def overlap(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]) + 1, min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    shared = float(width) * float(height)
    return shared / (
        (a[2] - a[0] + 1) * (a[3] - a[1] + 1) + (b[2] - b[0] + 1) * (b[3] - b[1] + 1) - shared
    )


def test_overlaps():
    boxes, others = random_boxes(0, 30), random_boxes(1, 20)
    expected = [[overlap(a.astype(float), b.astype(float)) for b in others] for a in boxes]
    np.testing.assert_allclose(box_ops.intersection_over_union(boxes, others), expected, rtol=1e-6)
    assert box_ops.intersection_over_union(boxes, np.zeros([0, 4])).shape == (30, 0)
    np.testing.assert_array_equal(np.diag(box_ops.intersection_over_union(boxes, boxes)), 1)


def test_coding_is_fast_rcnns():
    (code,) = box_ops.encode(np.array([[10, 20, 30, 60]]), np.array([[12, 20, 52, 40]])).numpy()
    np.testing.assert_allclose(
        code, [(32 - 20) / 20, (30 - 40) / 40, math.log(40 / 20), math.log(20 / 40)], rtol=1e-6
    )
    boxes, targets = random_boxes(2, 50), random_boxes(3, 50)
    boxes[:, 2:] += 1
    targets[:, 2:] += 1
    np.testing.assert_allclose(
        box_ops.decode(boxes, box_ops.encode(boxes, targets)), targets, atol=1e-4
    )


def test_thin_boxes_and_wild_codes_stay_finite():
    assert np.isfinite(box_ops.encode(np.array([[5, 5, 5, 9]]), np.array([[5, 5, 5, 5]]))).all()
    decoded = box_ops.decode(np.array([[0, 0, 400, 300]]), tf.constant([[0.5, -9, 200, 90]]))
    clipped = box_ops.clip(decoded, 300, 500)
    np.testing.assert_array_equal(clipped, [[0, 0, 499, 299]])


def test_mirrored_boxes_hold_the_mirrored_pixels():
    pixels = np.arange(12 * 9).reshape(9, 12)
    for x1, y1, x2, y2 in random_boxes(4, 20, size=9).astype(int):
        left, top, right, bottom = box_ops.mirror(tf.constant([x1, y1, x2, y2]), 12).numpy()
        np.testing.assert_array_equal(
            pixels[:, ::-1][top : bottom + 1, left : right + 1],
            pixels[y1 : y2 + 1, x1 : x2 + 1][:, ::-1],
        )


@pytest.mark.parametrize("threshold", [0.3, 0.5])
def test_suppression_is_fast_rcnns(threshold):
    for seed in range(40):
        boxes, scores = (
            random_boxes(seed, 60),
            np.random.default_rng(seed).integers(0, 20, 60).astype(np.float32) / 20,
        )
        kept = []
        for row in sorted(range(60), key=lambda row: -scores[row]):
            if all(
                overlap(boxes[row].astype(float), boxes[other].astype(float)) <= threshold
                for other in kept
            ):
                kept.append(row)
        np.testing.assert_array_equal(
            box_ops.non_maximum_suppression(boxes, scores, 60, threshold), kept
        )
        np.testing.assert_array_equal(
            box_ops.non_maximum_suppression(boxes, scores, 3, threshold), kept[:3]
        )


def test_an_overlap_of_just_the_threshold_is_kept():
    # 5 of 10 pixels by the rule of included pixels; without it 4 of 9.
    boxes = np.array([[0, 0, 9, 0], [0, 0, 4, 0]], np.float32)
    assert overlap(*boxes) == 0.5
    assert len(box_ops.non_maximum_suppression(boxes, np.array([1, 0.5], np.float32), 2, 0.5)) == 2
    assert len(box_ops.non_maximum_suppression(boxes, np.array([1, 0.5], np.float32), 2, 0.49)) == 1

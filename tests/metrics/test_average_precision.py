"""Average precision against scikit-learn, its former self, and the devkit's loops."""

import sys
import time

import numpy as np
import pytest
from sklearn.metrics import auc, average_precision_score, precision_recall_curve

from ccssl_tf.metrics import average_precision, detection_average_precision


def devkit_ap(recall, precision):
    """VOCevalcls.m and VOCevaldet.m of VOC 2007."""
    total = 0.0
    for threshold in np.arange(11) / 10:
        above = precision[recall >= threshold - 1e-12]
        total += (above.max() if len(above) else 0.0) / 11
    return total


def devkit_area(recall, precision):
    """VOCap.m of VOC 2010."""
    recall, precision = np.r_[0, recall, 1], np.r_[0, precision, 0]
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    steps = np.flatnonzero(recall[1:] != recall[:-1]) + 1
    return sum((recall[i] - recall[i - 1]) * precision[i] for i in steps)


def devkit_detection(
    image_ids, scores, boxes, gt_image_ids, gt_boxes, gt_difficult, threshold, area
):
    """VOCevaldet.m, line by line."""
    truths = {}
    for image, box, difficult in zip(gt_image_ids, gt_boxes, gt_difficult, strict=True):
        truths.setdefault(image, []).append(dict(box=box, difficult=difficult, detected=False))
    total = sum(not difficult for difficult in gt_difficult)
    if total == 0:
        return 0.0
    order = sorted(range(len(scores)), key=lambda row: -scores[row])
    true, false = np.zeros(len(order)), np.zeros(len(order))
    for place, row in enumerate(order):
        best, match = -np.inf, None
        x1, y1, x2, y2 = boxes[row]
        for truth in truths.get(image_ids[row], []):
            left, top, right, bottom = truth["box"]
            width, height = min(x2, right) - max(x1, left) + 1, min(y2, bottom) - max(y1, top) + 1
            if width > 0 and height > 0:
                union = (
                    (x2 - x1 + 1) * (y2 - y1 + 1)
                    + (right - left + 1) * (bottom - top + 1)
                    - width * height
                )
                if width * height / union > best:
                    best, match = width * height / union, truth
        if best >= threshold:
            if not match["difficult"]:
                true[place], false[place] = not match["detected"], match["detected"]
                match["detected"] = True
        else:
            false[place] = 1
    true, false = np.cumsum(true), np.cumsum(false)
    precision = true / np.maximum(true + false, 1e-300)
    return (devkit_area if area else devkit_ap)(true / total, precision)


def random_case(seed):
    """A class with ties in score, duplicated boxes, difficult truths, images without truths or
    without detections; some are empty.
    """
    random = np.random.default_rng(seed)
    num_truths, num_detections = random.integers(0, 12), random.integers(0, 40)
    images = random.integers(1, 6)

    def boxes(count):
        corners = random.integers(1, 12, [count, 2])
        return np.hstack([corners, corners + random.integers(0, 12, [count, 2])])

    gt_images, gt_boxes = random.integers(0, images, num_truths), boxes(num_truths)
    found_images, found_boxes = (
        random.integers(0, images + 1, num_detections),
        boxes(num_detections),
    )
    if num_truths:
        near = random.random(num_detections) < 0.7
        chosen = random.integers(0, num_truths, num_detections)
        jitter = random.integers(-2, 3, [num_detections, 4]) * (
            random.random([num_detections, 1]) < 0.7
        )
        found_images = np.where(near, gt_images[chosen], found_images)
        found_boxes = np.where(near[:, None], gt_boxes[chosen] + jitter, found_boxes)
        found_boxes[:, 2:] = np.maximum(found_boxes[:, 2:], found_boxes[:, :2])
    scores = random.integers(0, 8, num_detections) / 7
    return found_images, scores, found_boxes, gt_images, gt_boxes, random.random(num_truths) < 0.3


@pytest.mark.parametrize("interpolation", ["11point", "voc2010"])
def test_detection_is_the_devkits_in_1000_random_cases(interpolation):
    values = []
    for seed in range(1000):
        case = random_case(seed)
        threshold = (0.5, 0.3, 1.0)[seed % 3]
        values.append(
            detection_average_precision(*case, iou_threshold=threshold, interpolation=interpolation)
        )
        assert values[-1] == pytest.approx(
            devkit_detection(*case, threshold, interpolation == "voc2010"), abs=1e-12
        ), seed
    assert min(values) == 0 and max(values) == 1 and len(set(values)) > 300


def test_blocks_of_pairs_change_nothing(monkeypatch):
    case = random_case(7)
    expected = detection_average_precision(*case)
    monkeypatch.setattr(sys.modules[detection_average_precision.__module__], "_BLOCK_OF_PAIRS", 3)
    assert detection_average_precision(*case) == expected > 0


def test_ties_keep_the_order_given():
    truth = ["a"], [[1, 1, 10, 10]], [False]
    right, wrong = [1, 1, 10, 10], [50, 50, 60, 60]
    assert detection_average_precision(
        ["a", "a"], [0.5, 0.5], [right, wrong], *truth
    ) == pytest.approx(1)
    assert detection_average_precision(
        ["a", "a"], [0.5, 0.5], [wrong, right], *truth
    ) == pytest.approx(0.5)
    assert average_precision([1, 1], [True, False], interpolation="11point") == pytest.approx(1)
    assert average_precision([1, 1], [False, True], interpolation="11point") == pytest.approx(0.5)
    assert (
        average_precision([1, 1], [False, True]) == average_precision([1, 1], [True, False]) == 0.5
    )


def test_eleven_points_are_compared_exactly():
    # Recall 3/10 is not below 0.3: in floating point 0.1 * 3 > 3 / 10.
    positives = np.r_[np.ones(3, bool), np.zeros(7, bool)]
    scores = np.arange(10, 0, -1)
    padded = np.r_[positives, np.zeros(100, bool), np.ones(7, bool)]
    value = average_precision(np.r_[scores, np.zeros(107)], padded, interpolation="11point")
    late = [max((3 + k) / (110 + k) for k in range(i - 3, 8)) for i in range(4, 11)]
    assert value == pytest.approx((4 * 1.0 + sum(late)) / 11, abs=1e-12)


@pytest.mark.parametrize("decimals", [1, 2, 12])
def test_ranking_is_scikit_learns(decimals):
    for seed in range(300):
        random = np.random.default_rng(seed)
        count = random.integers(1, 60)
        scores, positives = (
            np.round(random.random(count), decimals),
            random.random(count) < random.random(),
        )
        ignored = random.random(count) < 0.2
        kept_scores, kept = scores[~ignored], positives[~ignored]
        step, trapezoid, eleven = (
            average_precision(scores, positives, ignored, name)
            for name in ("step", "trapezoid", "11point")
        )
        if not kept.any():
            assert step == trapezoid == eleven == 0
            continue
        assert step == pytest.approx(average_precision_score(kept, kept_scores), abs=1e-12)
        precision, recall, _ = precision_recall_curve(kept, kept_scores)
        full = np.flatnonzero(recall == 1)[
            -1
        ]  # Before 0.19 the curve ended where recall is complete.
        assert trapezoid == pytest.approx(auc(recall[full:], precision[full:]), abs=1e-12)
        true = np.cumsum(kept[np.argsort(-kept_scores, kind="stable")])
        assert eleven == pytest.approx(
            devkit_ap(true / kept.sum(), true / np.arange(1, len(true) + 1)), abs=1e-12
        )


def test_what_cannot_be_is_refused():
    with pytest.raises(
        ValueError, match="interpolation: must be step, trapezoid or 11point, not 'area'"
    ):
        average_precision([1.0], [True], interpolation="area")
    with pytest.raises(ValueError, match="11point or voc2010, not 'step'"):
        detection_average_precision([], [], [], [], [], [], interpolation="step")
    with pytest.raises(ValueError, match="NaN"):
        average_precision([np.nan, 1.0], [True, False])
    with pytest.raises(ValueError, match="alike"):
        average_precision([1.0], [True, False])
    with pytest.raises(ValueError, match="gt_image_ids"):
        detection_average_precision([], [], [], ["a"], [[1, 1, 2, 2]], [])


def test_a_test_set_of_voc_takes_seconds():
    """Issue 7: 5,000 images, 20 classes, 100 boxes an image in all, under 10 s on one core."""
    random = np.random.default_rng(0)
    corners = random.uniform(1, 400, [25_000, 2])
    boxes = np.hstack([corners, corners + random.uniform(10, 100, [25_000, 2])])
    truths = random.integers(0, 5000, 600)
    started = time.process_time()
    detection_average_precision(
        random.integers(0, 5000, 25_000),
        random.random(25_000),
        boxes,
        truths,
        boxes[:600],
        random.random(600) < 0.1,
    )
    assert time.process_time() - started < 0.5  # A class.

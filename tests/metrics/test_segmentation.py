"""The confusion matrix and what is read off it, against loops and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from ccssl_tf.metrics.segmentation import VOID, ConfusionMatrix


def _images(seed, num_classes=21, present=None):
    random = np.random.default_rng(seed)
    classes = np.arange(num_classes) if present is None else np.array(present)
    for _ in range(3):
        shape = random.integers(1, 30, 2)
        truth, prediction = random.choice(classes, shape), random.choice(classes, shape)
        agree = random.random(shape) < 0.6
        prediction = np.where(agree, truth, prediction)
        yield (
            np.where(random.random(shape) < 0.1, VOID, truth).astype(np.uint8),
            prediction.astype(np.uint8),
        )


def _by_loops(images, num_classes):
    """Mean IoU, pixel accuracy and mean accuracy from sets of pixels, class by class."""
    pixels = [
        (int(t), int(p))
        for truth, prediction in images
        for t, p in zip(truth.flat, prediction.flat, strict=True)
        if t != VOID
    ]
    ious, shares = [], []
    for name in range(num_classes):
        both = sum(t == name and p == name for t, p in pixels)
        either = sum(t == name or p == name for t, p in pixels)
        true = sum(t == name for t, p in pixels)
        if either:
            ious.append(both / either)
        if true:
            shares.append(both / true)
    return dict(
        mean_iou=sum(ious) / len(ious),
        pixel_accuracy=sum(t == p for t, p in pixels) / len(pixels),
        mean_accuracy=sum(shares) / len(shares),
    )


@pytest.mark.parametrize("seed", range(20))
def test_against_loops_and_scikit_learn(seed):
    present = None if seed % 2 else [0, 3, 7, 20]
    images = list(_images(seed, present=present))
    matrix = ConfusionMatrix(21)
    for truth, prediction in images:
        matrix.update(truth, prediction)
    truth, prediction = (
        np.concatenate([image[side].ravel() for image in images]) for side in (0, 1)
    )
    counted = truth != VOID
    np.testing.assert_array_equal(
        matrix.counts, confusion_matrix(truth[counted], prediction[counted], labels=np.arange(21))
    )
    expected = _by_loops(images, 21)
    assert matrix.results() == pytest.approx(expected, rel=1e-12)


def test_a_class_that_is_only_predicted_counts_as_missed_and_one_that_never_occurs_not_at_all():
    matrix = ConfusionMatrix(4)
    matrix.update([[0, 0, 1, 1]], [[0, 2, 1, 1]])
    np.testing.assert_array_equal(matrix.iou(), [0.5, 1, 0, np.nan])
    assert matrix.results() == dict(mean_iou=0.5, pixel_accuracy=0.75, mean_accuracy=0.75)


def test_counts_beyond_what_32_bits_hold():
    matrix = ConfusionMatrix(2)
    matrix.counts += 2**33
    matrix.update([1], [1])
    assert matrix.counts[1, 1] == 2**33 + 1


def test_void_pixels_do_not_count_whatever_is_predicted():
    matrix = ConfusionMatrix(2)
    matrix.update(np.full([3, 3], VOID, np.uint8), np.full([3, 3], 77, np.uint8))
    assert matrix.counts.sum() == 0 and all(np.isnan(value) for value in matrix.results().values())


def test_refusals():
    with pytest.raises(ValueError, match="class 21 in the truth; there are 21"):
        ConfusionMatrix(21).update([21], [0])
    with pytest.raises(ValueError, match="class 5 in the prediction; there are 3"):
        ConfusionMatrix(3).update([0, 255], [5, 0])
    with pytest.raises(ValueError, match="class -1 in the truth"):
        ConfusionMatrix(3).update([-1], [0])
    with pytest.raises(ValueError, match="one shape"):
        ConfusionMatrix(3).update([[0]], [0])

"""The loss against loops; `test_fast_rcnn` checks it on a network's outputs."""

import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.downstream.detection_loss import region_losses, smooth_l1


def test_smooth_l1_and_its_gradient_are_one_curve():
    x = tf.constant([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        losses = smooth_l1(x)
    np.testing.assert_allclose(losses, [2.5, 0.5, 0.125, 0.0, 0.125, 0.5, 2.5])
    np.testing.assert_allclose(tape.gradient(losses, x), [-1, -1, -0.5, 0, 0.5, 1, 1])


def test_losses_against_loops():
    random = np.random.default_rng(0)
    count, classes = 5, 3
    outputs = dict(
        logits=random.normal(size=[2 * count, 1 + classes]).astype(np.float32),
        codes=random.normal(size=[2 * count, 4 * classes]).astype(np.float32),
    )
    # The last regions of the second image are not there.
    labels = np.int32([[0, 1, 3, 0, 2], [2, 0, 0, -1, -1]])
    codes = random.normal(size=[2, count, 4]).astype(np.float32)
    deviations = random.uniform(0.5, 2, [classes, 4])
    batch = dict(roi_labels=tf.constant(labels), codes=tf.constant(codes))
    losses, metrics = region_losses(outputs, batch, deviations)
    logits = outputs["logits"].reshape(2, count, -1).astype(float)
    given = outputs["codes"].reshape(2, count, classes, 4)
    for row in range(2):
        class_loss = box_loss = right = 0.0
        for region, label in enumerate(labels[row]):
            if label < 0:
                continue
            scores = logits[row, region]
            class_loss += np.log(np.exp(scores).sum()) - scores[label]
            right += scores.argmax() == label
            if label > 0:
                difference = (given[row, region, label - 1] - codes[row, region]) / deviations[
                    label - 1
                ]
                box_loss += sum(0.5 * d * d if abs(d) < 1 else abs(d) - 0.5 for d in difference)
        num_regions = (labels[row] >= 0).sum()
        assert float(metrics["class_loss"][row]) == pytest.approx(class_loss / count, rel=1e-5)
        assert float(metrics["box_loss"][row]) == pytest.approx(box_loss / count, rel=1e-5)
        assert float(metrics["accuracy"][row]) == pytest.approx(right / num_regions)
        assert float(metrics["foreground"][row]) == pytest.approx(
            (labels[row] > 0).sum() / num_regions
        )
    np.testing.assert_allclose(losses, metrics["class_loss"] + metrics["box_loss"])

"""The detector as a function: several scales, boxes inside the photo, and what the network says in
pixels of the photo.
"""

import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.downstream.detector import Detector, scores_and_boxes
from ccssl_tf.models import AlexNet
from ccssl_tf.models.fast_rcnn import build_fast_rcnn


@pytest.fixture(scope="module")
def model():
    backbone = AlexNet(stem="small", normalization="none", width_multiplier=0.05, fc_units=())
    means, deviations = np.zeros([3, 4]), np.full([3, 4], 0.2)
    model = build_fast_rcnn(
        backbone,
        fc_units=(160, 160),
        dropout_rate=0.5,
        code_means=means,
        code_deviations=deviations,
    )
    for name in ("logits", "normalized_codes"):
        kernel = model.get_layer(name).kernel
        kernel.assign(np.random.default_rng(0).normal(0, 1, kernel.shape))
    return model


PHOTO = np.random.default_rng(0).integers(0, 256, [50, 60, 3], np.uint8)
REGIONS = np.int32([[0, 0, 59, 49], [5, 5, 12, 14], [20, 10, 50, 40]])


def test_scores_and_boxes_are_the_networks(model):
    scores, boxes = scores_and_boxes(model, PHOTO, REGIONS, 50, 400.0)
    outputs = model(
        [
            model.backbone.normalize(PHOTO[None]),
            tf.constant(np.pad(REGIONS, [[0, 0], [1, 0]]), tf.float32),
        ]
    )
    exponentials = np.exp(outputs["logits"].numpy().astype(float))
    np.testing.assert_allclose(
        scores, (exponentials / exponentials.sum(1, keepdims=True))[:, 1:], rtol=1e-4
    )
    for region in range(3):
        x, y, right, bottom = REGIONS[region].astype(float)
        w, h = right - x, bottom - y
        for number in range(3):
            dx, dy, dw, dh = outputs["codes"].numpy().reshape(3, 3, 4)[region, number].astype(float)
            cx, cy, w2, h2 = (
                x + w / 2 + dx * w,
                y + h / 2 + dy * h,
                w * np.exp(dw) / 2,
                h * np.exp(dh) / 2,
            )
            expected = np.clip([cx - w2, cy - h2, cx + w2, cy + h2], 0, [59, 49, 59, 49])
            np.testing.assert_allclose(boxes[region, number], expected, atol=1e-2)


def test_several_scales_look_at_each_region_once(model):
    detector = Detector(model)
    alone = [detector(PHOTO, REGIONS, [scale], 400.0) for scale in (40, 1200)]
    scores, boxes = detector(PHOTO, REGIONS, [40, 1200], 400.0)
    # At 400 pixels of the longer side the first has 400 x 333 pixels, three times 224 x 224, and at
    # a side of 40 far less: |area - 224^2| is 83,000 and 48,000. The second has 53 x 67 and is
    # nearer there; the third 207 x 207.
    for region, chosen in enumerate([0, 1, 1]):
        np.testing.assert_allclose(scores[region], alone[chosen][0][region], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(boxes[region], alone[chosen][1][region], atol=1e-3)
    assert not np.allclose(alone[0][0], alone[1][0])
    assert (
        boxes.shape == (3, 3, 4) and boxes.min() >= 0 and (boxes.max((0, 1))[2:] <= [59, 49]).all()
    )


def test_photos_of_any_kind_of_number_give_the_same(model):
    for given in (PHOTO, PHOTO.astype(np.float32)):
        scores, _ = scores_and_boxes(
            model, tf.constant(given), tf.constant(REGIONS, tf.float32), 40, 400.0
        )
        np.testing.assert_allclose(
            scores, Detector(model)(PHOTO, REGIONS, [40], 400.0)[0], rtol=1e-4, atol=1e-6
        )

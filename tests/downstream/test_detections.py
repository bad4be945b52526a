"""Suppression, what is kept, the devkit's files, and that reading them gives the precision that was
printed.
"""

import types

import numpy as np
import pytest

from ccssl_tf.downstream.detections import (
    Detections,
    average_precisions,
    detections_of_image,
    most_confident,
    write_devkit_files,
)
from ccssl_tf.metrics import detection_average_precision


def random_detections(seed=0, count=60, images=5, classes=3):
    random = np.random.default_rng(seed)
    corners = np.round(random.uniform(0, 30, [count, 2]).astype(np.float32), 1)
    boxes = np.hstack(
        [corners, np.round(corners + random.uniform(2, 20, [count, 2]).astype(np.float32), 1)]
    )
    return Detections(
        random.integers(0, images, count, dtype=np.int32),
        random.integers(0, classes, count, dtype=np.int32),
        random.random(count).astype(np.float32),
        boxes,
    )


def test_one_image():
    boxes = np.zeros([3, 2, 4], np.float32) + [0, 0, 9, 9]
    boxes[2] += 20
    scores = np.float32([[0.9, 0.1], [0.8, 0.2], [0.3, 0.3]])
    found, candidates = detections_of_image(7, scores, boxes)
    assert found.images.tolist() == [7] * 4
    assert sorted(
        zip(found.classes.tolist(), found.scores.astype(float).round(1).tolist(), strict=True)
    ) == [
        (0, 0.3),
        (0, 0.9),
        (1, 0.2),
        (1, 0.3),
    ]
    np.testing.assert_array_equal(candidates, np.float32([[0.9, 0.8, 0.3], [0.3, 0.2, 0.1]]))


def test_at_most_a_hundred_of_a_class():
    scores = np.random.default_rng(0).random([150, 1]).astype(np.float32)
    boxes = np.arange(150)[:, None, None] * 20 + np.float32([[[0, 0, 5, 5]]])
    found, candidates = detections_of_image(0, scores, boxes)
    assert len(found.scores) == 100 and candidates.shape == (1, 100)
    np.testing.assert_array_equal(np.sort(found.scores), np.sort(scores[:, 0])[-100:])


def test_forty_candidates_an_image():
    found = Detections(
        np.zeros(3, np.int32),
        np.int32([0, 0, 1]),
        np.float32([0.9, 0.2, 0.2]),
        np.zeros([3, 4], np.float32),
    )
    candidates = np.linspace(1, 0, 80, dtype=np.float32)[None].repeat(2, 0)
    candidates[1] /= 100
    kept = most_confident(found, candidates, num_images=1)
    # The 40th is 0.506 of the first class and 0.00506 of the second.
    assert kept.scores.tolist() == [np.float32(0.9), np.float32(0.2)] and kept.classes.tolist() == [
        0,
        1,
    ]
    assert len(most_confident(found, candidates, num_images=2).scores) == 3


@pytest.mark.parametrize("kind", ["11point", "voc2010"])
def test_the_files_give_the_precision(kind, tmp_path):
    found, names, random = (
        random_detections(),
        [f"00000{i}" for i in range(5)],
        np.random.default_rng(1),
    )
    truths = [np.round(found.boxes[i::7][:3]).astype(np.int32) for i in range(5)]
    labels = [random.integers(0, 2, len(boxes)) for boxes in truths]
    images = types.SimpleNamespace(
        truths=truths,
        labels=labels,
        difficult=[random.random(len(boxes)) < 0.2 for boxes in truths],
    )
    precisions = average_precisions(found, images, 3, kind)
    write_devkit_files(tmp_path, found, names, ["a", "b", "c"], "test")
    assert set(precisions) == {0, 1} and len(list(tmp_path.iterdir())) == 3
    for number, name in enumerate("ab"):
        rows = [
            line.split()
            for line in (tmp_path / f"comp3_det_test_{name}.txt").read_text().splitlines()
        ]
        objects = [
            (names[i], box + 1, d)
            for i in range(5)
            for box, c, d in zip(truths[i], labels[i], images.difficult[i], strict=True)
            if c == number
        ]
        gt = [list(column) for column in zip(*objects, strict=True)]
        boxes = [[float(side) for side in row[2:]] for row in rows]
        value = detection_average_precision(
            [row[0] for row in rows],
            [float(row[1]) for row in rows],
            boxes,
            *gt,
            interpolation=kind,
        )
        assert value == precisions[number]

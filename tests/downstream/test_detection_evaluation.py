"""A detector that answers with the objects scores 1; one that finds nothing 0."""

import numpy as np
import pytest

from ccssl_tf.downstream import detection_evaluation as lib
from ccssl_tf.downstream.detection_images import read_detection_images

NAMES = ["red", "green", "blue"]


@pytest.fixture(scope="module")
def images(objects_dir):
    return read_detection_images(str(objects_dir / "images"), "test", objects_dir / "proposals")


class Knowing:
    """Answers a photo's objects; it tells the photo by its array of proposals."""

    def __init__(self, images, score):
        self._images, self._score = images, score

    def __call__(self, photo, regions, scales, max_side):
        index = next(
            number
            for number, proposals in enumerate(self._images.proposals)
            if proposals is regions
        )
        truths, labels = self._images.truths[index], self._images.labels[index]
        scores = np.zeros([len(truths), 3], np.float32)
        scores[np.arange(len(truths)), labels] = self._score
        return scores, np.repeat(truths[:, None].astype(np.float32), 3, axis=1)


def test_objects_themselves_are_perfect_detections(objects_dir, images):
    detections = lib.detections_of_split(
        str(objects_dir / "images"), "test", Knowing(images, 0.9), images, 3, [48], 100
    )
    assert (np.diff(detections.images) >= 0).all() and set(detections.images) == set(range(6))
    means, of_classes = lib.precisions(detections, images, NAMES, "_here")
    assert means == {
        "mean_average_precision_here": pytest.approx(1.0),
        "mean_average_precision_area_here": pytest.approx(1.0),
    }
    assert set(of_classes["average_precision_here"]) <= set(NAMES)


def test_photos_are_whole_and_in_order(objects_dir, images):
    done = []
    photos = lib.whole_photos(str(objects_dir / "images"), "test").take(2)
    sizes = [tuple(batch["image"].shape[1:3]) for batch in photos]
    assert sizes == [tuple(size) for size in images.sizes[:2]]
    detections, candidates = lib.detections_in(
        photos, Knowing(images, 0.5), images, [48], 100, done.append
    )
    assert done == [1, 2] and len(candidates) == 2 and set(detections.images) == {0, 1}


def test_nothing_found_scores_nothing(objects_dir, images):
    photos = lib.whole_photos(str(objects_dir / "images"), "test")
    detections, _ = lib.detections_in(photos, Knowing(images, 0.5), images, [48], 100)
    nothing = detections.of(np.zeros(0, int))
    assert set(lib.precisions(nothing, images, NAMES)[0].values()) == {0.0}

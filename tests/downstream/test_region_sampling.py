"""Regions are drawn by Fast R-CNN's rules, and everything follows from the seed."""

import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.downstream.detection_images import read_detection_images
from ccssl_tf.downstream.region_sampling import RegionTables, resized_photo, training_example
from ccssl_tf.ops import boxes as box_ops


def overlaps_of(regions, truths):
    return box_ops.intersection_over_union(regions, truths).numpy().max(1)


def example(images, index, seed, *, num_regions=16, mirror=False, scales=(48,)):
    height, width = images.sizes[index]
    photo = np.random.default_rng(index).integers(0, 256, [height, width, 3], np.uint8)
    of_image = RegionTables.of(images).of_image(index)
    settings = dict(scales=list(scales), max_side=200, num_regions=num_regions, mirror=mirror)
    made = training_example(
        tf.constant(photo), *of_image, tf.constant([0, seed], tf.int64), **settings
    )
    return photo, {name: value.numpy() for name, value in made.items()}


@pytest.fixture(scope="module")
def images(objects_dir):
    return read_detection_images(objects_dir / "images", "trainval", objects_dir / "proposals")


@pytest.mark.parametrize("num_regions", [8, 16, 64])
def test_regions_drawn(images, num_regions):
    for index in range(6):
        photo, made = example(images, index, seed=index, num_regions=num_regions)
        truths, regions = (
            images.truths[index],
            np.concatenate([images.truths[index], images.proposals[index]]),
        )
        overlaps = overlaps_of(regions, truths)
        foreground = min(num_regions // 4, (overlaps >= 0.5).sum())
        background = min(num_regions - foreground, ((overlaps >= 0.1) & (overlaps < 0.5)).sum())
        labels = made["roi_labels"]
        assert (labels > 0).sum() == foreground and (labels == 0).sum() == background
        assert (labels == -1).sum() == num_regions - foreground - background
        scale = 48 / min(photo.shape[:2])
        own = np.round(made["rois"] / scale).astype(int)
        found = overlaps_of(own, truths)
        assert (found[labels > 0] >= 0.5).all() and (
            (found[labels == 0] >= 0.1) & (found[labels == 0] < 0.5)
        ).all()
        best = box_ops.intersection_over_union(own, truths).numpy().argmax(1)
        np.testing.assert_array_equal(
            labels[labels > 0], images.labels[index][best[labels > 0]] + 1
        )
        expected = box_ops.encode(own, truths[best]).numpy() * (labels > 0)[:, None]
        np.testing.assert_allclose(made["codes"], expected, atol=1e-5)
        assert made["image"].shape[:2] == tuple(made["size"])


def test_no_region_is_drawn_twice(images):
    _, made = example(images, 1, seed=3, num_regions=30)
    rows = made["rois"][made["roi_labels"] >= 0]
    regions = np.concatenate([images.truths[1], images.proposals[1]])
    assert max(np.unique(rows, axis=0, return_counts=True)[1]) <= max(
        np.unique(regions, axis=0, return_counts=True)[1]
    )


def test_the_seed_decides(images):
    (_, first), (_, again), (_, other) = (
        example(images, 2, seed, mirror=True, scales=(40, 48, 60)) for seed in (1, 1, 2)
    )
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
    assert any(
        value.shape != other[name].shape or (value != other[name]).any()
        for name, value in first.items()
    )
    sizes = {tuple(example(images, 2, seed, scales=(40, 48, 60))[1]["size"]) for seed in range(20)}
    assert {min(size) for size in sizes} == {40, 48, 60}


def test_mirrored_photos_have_mirrored_regions(images):
    index = 0
    height, width = images.sizes[index]
    plain, mirrored = [], []
    for seed in range(12):
        photo, made = example(
            images, index, seed, mirror=True, num_regions=60, scales=(int(min(height, width)),)
        )
        side = mirrored if (made["image"] == photo[:, ::-1]).all() else plain
        assert side is mirrored or (made["image"] == photo).all()
        truths = (
            box_ops.mirror(images.truths[index], width).numpy()
            if side is mirrored
            else images.truths[index]
        )
        found = overlaps_of(np.round(made["rois"]).astype(int), truths)
        assert (found[made["roi_labels"] > 0] >= 0.5).all()
        side.append(seed)
    assert plain and mirrored


def test_an_image_without_objects_has_no_regions(images):
    nothing = tf.zeros([0, 4], tf.int32), tf.zeros([0], tf.int32)
    settings = dict(scales=[20], max_side=100, num_regions=5, mirror=True)
    made = training_example(
        tf.zeros([30, 20, 3], tf.uint8),
        tf.constant([[1, 2, 9, 9]]),
        *nothing,
        tf.constant([0, 1], tf.int64),
        **settings,
    )
    assert (made["roi_labels"].numpy() == -1).all() and (made["codes"].numpy() == 0).all()


@pytest.mark.parametrize(
    "size, expected",
    [
        ((375, 500), (600, 800)),
        ((300, 600), (500, 1000)),
        ((500, 333), (901, 600)),
        ((600, 700), (600, 700)),
    ],
)
def test_sizes_are_fast_rcnns(size, expected):
    photo, scale = resized_photo(tf.zeros([*size, 3], tf.uint8), 600, 1000)
    assert photo.shape == (*expected, 3) and float(scale) == pytest.approx(
        min(600 / min(size), 1000 / max(size))
    )

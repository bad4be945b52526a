"""Shapes that cannot be drawn; those that can are in test_coco_layout.py."""

import json

import numpy as np
import pytest

from data_prep import coco_masks
from data_prep.coco_masks import MaskLocation
from data_prep.decoding import BadImage, ConvertedImage

pytest.importorskip("pycocotools", reason="pycocotools is not installed")


@pytest.mark.parametrize(
    "shape",
    [
        [[1, 2]],
        ["x"],
        dict(counts=3),
        dict(size=[9, 9], counts=[81]),
        dict(size=[10**9, 10**9], counts="x"),
        dict(size=[24, 32], counts=[10**12]),
        dict(size=[24, 32], counts=[-768, 1536]),
        dict(size=[24, 32], counts=[767]),
        dict(size=[24, 32], counts=[1.5, 766.5]),
        dict(size=[24, 32], counts=""),
        dict(size=[24, 32], counts="00000"),
        dict(size=[24, 32], counts="zzzz"),
        dict(size=[24, 32], counts="1" * 5000),
        dict(size=[24, 32], counts="P" * 300),
        dict(counts=[768]),
        [[0, 0, 5, 5]],
        [[0, 0, 5, 5, 1]],
        [[1e300, 0, 1, 1, 2, 2]],
        [[float("nan")] * 6],
        [1, 1, 5, 1, 5, 5],
    ],
)
def test_shapes_that_are_none(shape):
    location = MaskLocation((), (32, 24), json.dumps([[1, False, shape]]).encode())
    with pytest.raises(BadImage, match="cannot be drawn"):
        coco_masks.mask_values(location)


@pytest.mark.parametrize("seed", range(20))
def test_run_lengths_are_those_of_pycocotools(seed):
    from pycocotools import mask as coco_mask

    random = np.random.default_rng(seed)
    pixels = random.random((24, 32)) < random.choice([0, 0.01, 0.1, 0.5, 1])
    coded = coco_mask.encode(np.asfortranarray(pixels.astype(np.uint8)))
    shape = dict(size=[24, 32], counts=coded["counts"].decode())
    location = MaskLocation((), (32, 24), json.dumps([[7, False, shape]]).encode())
    np.testing.assert_array_equal(coco_masks.mask_values(location), 7 * pixels)


def test_polygons_may_reach_out_of_the_image():
    shape = [[-5, 3, 40, 3, 40, 9, -5, 9]]
    location = MaskLocation((), (32, 24), json.dumps([[1, False, shape]]).encode())
    expected = np.zeros((24, 32), np.uint8)
    expected[3:9] = 1
    np.testing.assert_array_equal(coco_masks.mask_values(location), expected)


def test_the_picture_must_have_the_size_that_is_told():
    location = MaskLocation((), (32, 24), b"[]")
    annotator = coco_masks.CocoMaskAnnotator()
    with pytest.raises(BadImage, match="24x32 pixels, its annotation says 32x24"):
        annotator.features(location, ConvertedImage(b"", 32, 24, ()))
    with pytest.raises(BadImage, match="asks for a rotation"):
        annotator.features(location, ConvertedImage(b"", 24, 32, ("rotated",)))

"""Shapes that cannot be drawn; those that can are in test_coco_layout.py."""

import json

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
    ],
)
def test_shapes_that_are_none(shape):
    location = MaskLocation((), (32, 24), json.dumps([[1, False, shape]]).encode())
    with pytest.raises(BadImage, match="cannot be drawn"):
        coco_masks.mask_values(location)


def test_the_picture_must_have_the_size_that_is_told():
    location = MaskLocation((), (32, 24), b"[]")
    annotator = coco_masks.CocoMaskAnnotator()
    with pytest.raises(BadImage, match="24x32 pixels, its annotation says 32x24"):
        annotator.features(location, ConvertedImage(b"", 32, 24, ()))
    with pytest.raises(BadImage, match="asks for a rotation"):
        annotator.features(location, ConvertedImage(b"", 24, 32, ("rotated",)))

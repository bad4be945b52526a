"""Masks keep every index, whatever file they come from; what does not suit its image is named as
bad.
"""

import io

import numpy as np
import pytest
import scipy.io
import tensorflow as tf
from PIL import Image

from data_prep.decoding import BadImage, ConvertedImage
from data_prep.mask_annotator import SegmentationAnnotator, SegmentationLocation
from data_prep.mask_values import MaskColors


@pytest.fixture
def image(voc_devkit):
    return ConvertedImage(b"", voc_devkit.SIZE[1], voc_devkit.SIZE[0], ())


def _stored(tmp_path, image, data, name="a.png"):
    (tmp_path / name).write_bytes(data)
    location = SegmentationLocation(image=(), mask=(str(tmp_path / name), 0, None), mask_name=name)
    return SegmentationAnnotator(MaskColors(20)).features(location, image)[
        "image/segmentation/class/encoded"
    ][0]


def _mat(mask):
    file = io.BytesIO()
    scipy.io.savemat(
        file, {"GTcls": {"Segmentation": mask, "CategoriesPresent": [1, 2]}}, do_compression=True
    )
    return file.getvalue()


@pytest.mark.parametrize("kind", ["palette", "grey", "transparent", "sbd"])
def test_indices_survive(tmp_path, image, voc_devkit, kind):
    pixels = voc_devkit.mask_pixels(1)
    png = voc_devkit.mask(1)
    if kind == "transparent":
        with Image.open(io.BytesIO(png)) as palette:
            png = voc_devkit.encoded(palette, "PNG", transparency=0)
    data = {"grey": voc_devkit.encoded(pixels, "PNG"), "sbd": _mat(pixels)}.get(kind, png)
    stored = _stored(tmp_path, image, data, "a.mat" if kind == "sbd" else "a.png")
    # Not through our own reader: TensorFlow, as training decodes it, and Pillow.
    np.testing.assert_array_equal(tf.io.decode_png(stored)[..., 0], pixels)
    with Image.open(io.BytesIO(stored)) as found:
        assert found.mode == "L"


def test_a_palette_of_few_colours_is_unpacked(tmp_path, image, voc_devkit):
    pixels = np.arange(17 * 23, dtype=np.uint8).reshape(17, 23) % 4
    two_bits = Image.frombytes("P", (23, 17), pixels.tobytes())
    two_bits.putpalette(voc_devkit.palette()[:12])
    np.testing.assert_array_equal(
        tf.io.decode_png(_stored(tmp_path, image, voc_devkit.encoded(two_bits, "PNG", bits=2)))[
            ..., 0
        ],
        pixels,
    )


def test_masks_that_do_not_do(tmp_path, image, voc_devkit):
    png = voc_devkit.mask(1)
    flipped = bytearray(png)
    flipped[len(png) // 2] ^= 1
    pixels = voc_devkit.mask_pixels(1)
    for data, name, said in [
        (b"<html>", "a.png", "a.png: not a whole PNG"),
        (png[:-40], "a.png", "not a whole PNG"),
        (bytes(flipped), "a.png", "not a whole PNG"),
        (
            voc_devkit.encoded(np.full([17, 23, 3], (0, 0, 1), np.uint8), "PNG"),
            "a.png",
            "the colour (0, 0, 1)",
        ),
        (
            voc_devkit.encoded(np.zeros([23, 17], np.uint8), "PNG"),
            "a.png",
            "17x23 pixels, the image has 23x17",
        ),
        (voc_devkit.encoded(np.full([17, 23], 21, np.uint8), "PNG"), "a.png", "holds class 21"),
        (voc_devkit.encoded(np.zeros([17, 23], np.uint8), "JPEG"), "a.png", "not a whole PNG"),
        (b"", "a.mat", "a.mat: no mask in GTcls.Segmentation"),
        (_mat(pixels)[:-100], "a.mat", "no mask"),
        (_mat(pixels.astype(float)), "a.mat", "no mask"),
        (_mat(pixels.T), "a.mat", "a.mat says 17x23"),
    ]:
        with pytest.raises(BadImage) as caught:
            _stored(tmp_path, image, data, name)
        assert said in str(caught.value), (said, caught.value)

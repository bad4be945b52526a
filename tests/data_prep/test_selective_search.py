"""Boxes of an image are searched once, in an order of our own; the search itself needs OpenCV."""

import hashlib
import importlib.util

import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.runs.errors import InputError
from data_prep import selective_search
from data_prep.selective_search import SelectiveSearch

HAS_OPENCV = importlib.util.find_spec("cv2") is not None
JPEG = tf.io.encode_jpeg(np.zeros([40, 50, 3], np.uint8)).numpy()


@pytest.mark.skipif(HAS_OPENCV, reason="OpenCV is here")
def test_without_opencv_the_command_that_installs_it_is_told():
    with pytest.raises(InputError, match=r"pip install 'ccssl_tf\[detection\]'"):
        selective_search.require_opencv()


def test_an_image_is_searched_once_and_its_order_is_its_own(tmp_path, monkeypatch):
    searched = []
    boxes = np.stack([np.arange(1, 31)] * 4, axis=1).astype(np.int32)

    def search(pixels, mode, min_side):
        searched.append((pixels.shape, mode, min_side))
        return boxes

    monkeypatch.setattr(selective_search, "search", search)
    source = SelectiveSearch("fast", 20, tmp_path)
    first = source.boxes({"encoded": JPEG})
    np.testing.assert_array_equal(source.boxes({"encoded": JPEG}), first)
    assert searched == [((40, 50, 3), "fast", 20)]
    assert [path.name for path in tmp_path.iterdir()] == [hashlib.sha256(JPEG).hexdigest() + ".npy"]
    np.testing.assert_array_equal(np.unique(first, axis=0), boxes)
    assert not np.array_equal(first, boxes)
    other = source.boxes({"encoded": tf.io.encode_jpeg(np.ones([40, 50, 3], np.uint8)).numpy()})
    assert not np.array_equal(first, other)


@pytest.mark.skipif(not HAS_OPENCV, reason="OpenCV's contrib modules are not installed")
def test_objects_are_found_the_same_every_time():
    pixels = np.full([90, 120, 3], 40, np.uint8)
    pixels[20:60, 30:80] = [250, 10, 10]
    first = selective_search.search(pixels, "fast", 20)
    assert (
        first.dtype == np.int32 and (first[:, :2] >= 1).all() and (first[:, 2:] <= [120, 90]).all()
    )
    assert (first[:, 2:] - first[:, :2] + 1 >= 20).all()
    # The red rectangle, in 1-based inclusive pixels, to within the blur of the segmentation.
    assert np.abs(first - [31, 21, 80, 60]).max(axis=1).min() <= 2
    np.testing.assert_array_equal(selective_search.search(pixels, "fast", 20), first)
    assert selective_search.search(pixels[:1], "fast", 20).shape == (0, 4)

"""Steps whose loss is not finite, and the names of their images."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.data import image_list
from ccssl_tf.training.finite_loss import RecentLosses, images_of


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_step_is_told(bad):
    losses = RecentLosses()
    for step, loss in enumerate([1.0, 2.0, bad, 3.0, bad], 7):
        losses.add(step, tf.constant(loss))
    assert losses.first_not_finite() == 9
    losses.clear()
    losses.add(12, tf.constant(1.0))
    assert losses.first_not_finite() is None


def batch_of(indices):
    return dict(index=tf.constant(list(indices), tf.int64))


def test_images_have_names_or_at_least_numbers(image_dir, tmp_path):
    shutil.copytree(image_dir, tmp_path, dirs_exist_ok=True)
    (tmp_path / image_list.NAME).unlink(missing_ok=True)
    told = images_of(batch_of([3, 1]), tmp_path, "train")
    assert told == "the images image/index 3, image/index 1"
    names = [f"{index}\x1b.jpg".encode() for index in range(48)]
    rows = [image_list.row(index, name, "train", -1, None) for index, name in enumerate(names)]
    image_list.write(tmp_path, rows)
    assert images_of(batch_of([3, 1]), tmp_path, "train") == r"the images 3\x1b.jpg, 1\x1b.jpg"
    assert images_of(batch_of(range(23)), tmp_path, "train").endswith("19\\x1b.jpg and 3 more")

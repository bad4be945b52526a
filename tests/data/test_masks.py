"""What is asked of a data set with masks, and lists of its images."""

import numpy as np
import pytest
from conftest import write_masked_images

from ccssl_tf.data import masks
from ccssl_tf.errors import InputError


def test_classes_begin_with_the_background(mask_dir):
    assert masks.mask_classes(mask_dir, ("train", "val")) == ["background", "red", "green", "blue"]


def test_refusals_of_data_sets(mask_dir, image_dir, tmp_path):
    with pytest.raises(InputError, match="no split test, but train, val"):
        masks.mask_classes(mask_dir, ("train", "test"))
    with pytest.raises(InputError, match="split val have no masks; convert with data_prep.voc --task=segmentation"):
        masks.mask_classes(image_dir, ("val",))
    write_masked_images(tmp_path, dict(train=4), info=dict(class_names=["red", "green"]))
    with pytest.raises(InputError, match="mask 2 of split train has class 3, and there are 2 classes besides the background"):
        masks.mask_classes(tmp_path, ("train",))


def test_lists_of_images(mask_dir, tmp_path):
    assert masks.image_ids(mask_dir, "val") == [f"val_{index:03d}" for index in range(5)]
    path = tmp_path / "list.txt"
    path.write_text("val_003\n\nval_001 -1\nval_003\n")
    np.testing.assert_array_equal(masks.listed_indices(mask_dir, "val", path), [1, 3])
    path.write_text("val_003\n2007_000033\nval_009\n")
    with pytest.raises(InputError, match="list.txt: 2 of 3 images are not in split val of .*: 2007_000033, val_009"):
        masks.listed_indices(mask_dir, "val", path)
    path.write_text("\n")
    with pytest.raises(InputError, match="names no image"):
        masks.listed_indices(mask_dir, "val", path)
    with pytest.raises(InputError, match="no such file"):
        masks.listed_indices(mask_dir, "val", tmp_path / "none.txt")

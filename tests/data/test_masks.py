"""What is asked of a data set with masks, and lists of its images."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import jpeg_of, write_masked_images

from ccssl_tf.data import masks, records, voc_records
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.runs.errors import InputError


def test_classes_begin_with_the_background(mask_dir):
    assert masks.mask_classes(mask_dir, ("train", "val")) == ["background", "red", "green", "blue"]


def test_refusals_of_data_sets(mask_dir, image_dir, tmp_path):
    with pytest.raises(InputError, match="no split test, but train, val"):
        masks.mask_classes(mask_dir, ("train", "test"))
    with pytest.raises(
        InputError, match="split val have no masks; convert with data_prep.voc --task=segmentation"
    ):
        masks.mask_classes(image_dir, ("val",))
    write_masked_images(tmp_path, dict(train=4), info=dict(class_names=["red", "green"]))
    with pytest.raises(
        InputError,
        match="split train: image 2 .train_002.jpg. has class 3 in its mask, and the 3 classes",
    ):
        masks.mask_classes(tmp_path, ("train",))


def test_lists_of_images(mask_dir, tmp_path):
    assert masks.image_ids(mask_dir, "val") == [f"val_{index:03d}" for index in range(5)]
    path = tmp_path / "list.txt"
    path.write_text("val_003\n\nval_001 -1\nval_003\n")
    np.testing.assert_array_equal(masks.listed_indices(mask_dir, "val", path), [1, 3])
    path.write_text("val_003\n2007_000033\nval_009\n")
    with pytest.raises(
        InputError, match="list.txt: 2 of 3 images are not in split val of .*: 2007_000033, val_009"
    ):
        masks.listed_indices(mask_dir, "val", path)
    path.write_text("\n")
    with pytest.raises(InputError, match="names no image"):
        masks.listed_indices(mask_dir, "val", path)
    with pytest.raises(InputError, match="no such file"):
        masks.listed_indices(mask_dir, "val", tmp_path / "none.txt")


def test_masks_that_cannot_be_are_named_while_reading(mask_dir, tmp_path):
    def read(directory, num_classes):
        def load(serialized):
            return masks.decoded_mask(
                voc_records.parse_voc_image(serialized), directory, "val", num_classes
            )

        shards = Manifest.read(directory, "images").shards("val")
        with records.naming_damage(directory):
            return list(
                tf.data.TFRecordDataset([str(directory / shard.name) for shard in shards])
                .map(load)
                .as_numpy_iterator()
            )

    assert {int(value) for mask in read(mask_dir, 4) for value in np.unique(mask)} == {
        0,
        1,
        2,
        3,
        masks.VOID,
    }
    with pytest.raises(
        InputError,
        match="split val: image 2 .val_002.jpg. has class 3 in its mask, and the 3 classes are "
        "numbered from 0",
    ):
        read(mask_dir, 3)
    png = tf.io.encode_png(np.zeros([5, 7, 1], np.uint8)).numpy()
    photo = dict(
        encoded=jpeg_of(np.zeros([7, 5, 3], np.uint8)),
        filename=b"turned.jpg",
        height=7,
        width=5,
        index=0,
    )
    shard = records.write_shard(
        tmp_path / "val-00000-of-00001.tfrecord",
        [records.image_example(**photo, extra=voc_records.mask_features(png))],
    )
    Manifest("images", dict(val=[shard]), dict(class_names=["a"])).write(tmp_path)
    with pytest.raises(InputError, match=r"turned.jpg. is of size \[7 5\], its mask of \[5 7\]"):
        read(tmp_path, 2)

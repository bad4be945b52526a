"""Class names are there or their absence is said."""

import pytest
from conftest import CLASS_NAMES, write_images

from ccssl_tf.data import records
from ccssl_tf.data.labels import class_names
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.errors import InputError


def test_names_of_labelled_images(image_dir):
    assert class_names(image_dir) == CLASS_NAMES


@pytest.mark.parametrize("info", [{}, dict(class_names=None), dict(class_names=[])])
def test_unlabelled_images_are_refused(tmp_path, info):
    write_images(tmp_path / "data", {"train": [1]}, info=info)
    with pytest.raises(InputError, match="data: its images have no class labels"):
        class_names(tmp_path / "data")


def test_a_split_without_labels_is_named(tmp_path, image_dir):
    assert class_names(image_dir, splits=("train", "val")) == CLASS_NAMES
    manifest = write_images(tmp_path / "data", {"train": [2], "val": [0]})
    example = records.image_example(encoded=b"", filename=b"", height=1, width=1, index=0)
    shard = records.write_shard(tmp_path / "data" / "val-00000-of-00001.tfrecord", [example])
    Manifest("images", dict(manifest.splits, val=[shard]), manifest.info).write(tmp_path / "data")
    with pytest.raises(InputError, match="split val have no class labels"):
        class_names(tmp_path / "data", splits=("train", "val"))

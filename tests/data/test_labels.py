"""Class names are there or their absence is said."""

import pytest
from conftest import CLASS_NAMES, write_images

from ccssl_tf.data import pipeline, records
from ccssl_tf.data.labels import class_names, parse_labelled
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.runs.errors import InputError


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


def test_a_split_that_is_not_there_or_empty_is_named(tmp_path):
    write_images(tmp_path / "data", {"train": [2], "val": []})
    with pytest.raises(InputError, match="data: no split test, but train, val"):
        class_names(tmp_path / "data", splits=("train", "test"))
    with pytest.raises(InputError, match="data: split val is empty"):
        class_names(tmp_path / "data", splits=("train", "val"))


@pytest.mark.parametrize("training", [False, True])
def test_a_label_out_of_range_ends_reading_and_names_the_image(image_dir, training):
    def labels(num_classes):
        parse = parse_labelled(image_dir, "train", num_classes)
        epoch = pipeline.Epoch(batch_size=8, training=training)
        with records.naming_damage(image_dir):
            return [
                label
                for batch in pipeline.batches(
                    image_dir, "train", epoch, load=lambda parsed: {}, parse=parse
                )
                for label in batch["label"].numpy()
            ]

    assert sorted(labels(3)) == sorted([0, 1, 2] * 16)
    with pytest.raises(
        InputError,
        match=r"split train: image \d+ .train \d+-.*jpg. has label 2, and the 2 classes are "
        r"numbered from 0",
    ):
        labels(2)


def test_an_image_without_a_label_among_labelled_ones_is_named(tmp_path):
    examples = [
        records.image_example(encoded=b"", filename=b"a.jpg", height=1, width=1, index=n, **label)
        for n, label in enumerate(({"label": 0}, {}))
    ]
    shard = records.write_shard(tmp_path / "val-00000-of-00001.tfrecord", examples)
    Manifest("images", dict(val=[shard]), dict(class_names=["a"])).write(tmp_path)
    assert class_names(tmp_path, splits=["val"]) == ["a"]
    options = dict(batch_size=1, load=lambda parsed: {}, parse=parse_labelled(tmp_path, "val", 1))
    with (
        pytest.raises(InputError, match="split val: image 1 .a.jpg. has label -1"),
        records.naming_damage(tmp_path),
    ):
        list(pipeline.evaluation_batches(tmp_path, "val", **options))

"""The command, from another project's TFRecords to records that are whole and that TFDS opens."""

import numpy as np
import pytest
import tensorflow_datasets as tfds
from foreign_records import jpeg, write

from ccssl_tf.data.manifest import Manifest
from ccssl_tf.runs.errors import CorruptArtifactError, FlagError
from data_prep.tfrecord_import import TfrecordImportSettings


def test_boxes_from_records_to_records(commands, tmp_path):
    rows = [
        {
            "image/encoded": jpeg(number),
            "image/filename": b"%d.jpg" % number,
            "image/object/bbox/xmin": [0.25],
            "image/object/bbox/ymin": [0.5],
            "image/object/bbox/xmax": [0.75],
            "image/object/bbox/ymax": [1.0],
            "image/object/class/label": [1 + number % 2],
        }
        for number in range(4)
    ]
    write(tmp_path / "in/coco_train.record-00000-of-00001", rows[:3])
    write(tmp_path / "in/coco_val.record-00000-of-00001", rows[3:])
    out = tmp_path / "out"
    flags = ("tfrecord_import", f"--source={tmp_path / 'in'}", f"--output_dir={out}")
    commands.run(*flags, "--resize_short_side=16", code=1)
    assert not out.exists()
    output, _ = commands.run(*flags, "--num_workers=1")
    assert "3 train, 1 val images, 2 classes" in output
    output, _ = commands.run("verify", f"--data_dir={out}")
    assert "whole" in output
    examples = tfds.builder_from_directory(str(out)).as_dataset(split="train")
    seen = set()
    for example in tfds.as_numpy(examples):
        number = int(example["image/filename"].decode()[0])
        assert example["image/object/class/label"].tolist() == [number % 2]
        assert example["image/object/class/text"].tolist() == [b"12"[number % 2 : number % 2 + 1]]
        sides = ("xmin", "ymin", "xmax", "ymax")
        corners = [example[f"image/object/bbox/{side}"] for side in sides]
        np.testing.assert_allclose(np.ravel(corners), [0.25, 0.5, 0.75, 1])
        seen.add(number)
    assert seen == {0, 1, 2}


def test_a_directory_of_foreign_records_says_what_to_do(tmp_path):
    write(tmp_path / "train-00000-of-00001", [dict(image=jpeg(), label=0)])
    with pytest.raises(CorruptArtifactError, match="python -m data_prep.tfrecord_import --source="):
        Manifest.read(tmp_path, "images")


def test_settings_that_can_never_be_right():
    with pytest.raises(FlagError, match="^--resize_short_side: boxes"):
        TfrecordImportSettings(source=("a",), output_dir="b", task="detection", resize_short_side=9)

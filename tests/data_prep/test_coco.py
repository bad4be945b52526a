"""The command, from instances files to records that are whole and that training reads."""

import json

import numpy as np
import pytest
import tensorflow_datasets as tfds
from foreign_records import jpeg

from ccssl_tf.data import masks, records, voc_records
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.runs.errors import FlagError
from data_prep.coco import CocoSettings

pytest.importorskip("pycocotools", reason="pycocotools is not installed")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Four pictures of 32x24, three in train."""
    root = tmp_path_factory.mktemp("coco")
    categories = [dict(id=2, name="bee"), dict(id=1, name="ant")]
    for split, numbers in (("train", (0, 1, 2)), ("val", (3,))):
        images, annotations = [], []
        for number in numbers:
            path = root / "images" / f"{number}.jpg"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(jpeg(number))
            images.append(dict(id=number, file_name=f"{number}.jpg", width=32, height=24))
            x, width = 4 * number, 8
            polygon = [x, 2, x + width, 2, x + width, 12, x, 12]
            annotations.append(
                dict(
                    id=number,
                    image_id=number,
                    category_id=1 + number % 2,
                    bbox=[x, 2, width, 10],
                    segmentation=[polygon],
                    iscrowd=0,
                )
            )
        content = dict(images=images, annotations=annotations, categories=categories)
        (root / f"instances_{split}2017.json").write_text(json.dumps(content))
    return root


def _flags(source, out):
    return (
        *("coco", f"--source={source / 'images'}", f"--output_dir={out}", "--num_workers=1"),
        *(f"--annotations={source}/instances_{split}2017.json" for split in ("train", "val")),
    )


def test_boxes(commands, source, tmp_path):
    out = tmp_path / "out"
    output, _ = commands.run(*_flags(source, out))
    assert "3 train, 1 val images, 2 classes" in output
    assert "whole" in commands.run("verify", f"--data_dir={out}")[0]
    boxes = {}
    for split in ("train", "val"):
        for shard in Manifest.read(out, "images").shards(split):
            for serialized in records.read_shard(out / shard.name):
                parsed = voc_records.parse_voc_image(serialized)
                found = voc_records.pixel_boxes(parsed["boxes"], 24, 32).numpy().tolist()
                boxes[parsed["filename"].numpy().decode()] = (found, parsed["labels"].numpy()[0])
    assert boxes == {
        f"{number}.jpg": ([[4 * number + 1, 3, 4 * number + 8, 12]], number % 2)
        for number in range(4)
    }


def test_masks(commands, source, tmp_path):
    out = tmp_path / "out"
    commands.run(*_flags(source, out), "--task=segmentation")
    assert masks.mask_classes(out, ("train", "val")) == ["background", "ant", "bee"]
    for example in tfds.as_numpy(tfds.builder_from_directory(str(out)).as_dataset(split="train")):
        number = int(example["image/filename"].decode()[0])
        expected = np.zeros((24, 32), np.uint8)
        expected[2:12, 4 * number : 4 * number + 8] = 1 + number % 2
        np.testing.assert_array_equal(example["image/segmentation/class/encoded"][..., 0], expected)


def test_what_is_refused_leaves_nothing_behind(commands, source, tmp_path):
    out = tmp_path / "out"
    commands.run(*_flags(source, out), "--resize_short_side=16", code=1)
    commands.run(*_flags(source, out), "--splits=train", code=1)
    _, errors = commands.run(*_flags(source, out), f"--annotations={source}/none.json", code=2)
    assert errors.count("\n") == 1 and "none.json" in errors
    assert not out.exists()


def test_settings_that_can_never_be_right():
    with pytest.raises(FlagError, match="^--splits: 1 for 2 --annotations"):
        CocoSettings(source="a", annotations=("b", "c"), output_dir="d", splits=("train",))

import shutil

import pytest
import tensorflow as tf

from ccssl_tf.data import image_facts, records
from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.runs.errors import CorruptArtifactError


def test_image_facts_find_every_image(image_dir):
    fingerprint = manifest_lib.Manifest.read(image_dir, "images").fingerprint("train")
    facts = image_facts.read_image_facts(image_dir, "train", fingerprint)
    for path in sorted(image_dir.glob("train-*")):
        for serialized in records.read_shard(path):
            parsed = {
                name: value.numpy() for name, value in records.parse_image(serialized).items()
            }
            assert facts.filenames[parsed["index"]] == parsed["filename"]
            assert facts.labels[parsed["index"]] == parsed["label"]
            assert facts.encoded(parsed["index"]) == parsed["encoded"]


def test_short_sides_are_those_of_the_pictures(image_dir):
    pictures = [
        tf.io.decode_jpeg(records.parse_image(serialized)["encoded"]).shape
        for path in sorted(image_dir.glob("train-*"))
        for serialized in records.read_shard(path)
    ]
    sides = image_facts.short_sides(image_dir, "train", 20)
    assert sides.tolist() == [min(shape[:2]) for shape in pictures[:20]]
    assert len(image_facts.short_sides(image_dir, "train", 1000)) == 48


def test_image_facts_of_a_damaged_shard(image_dir, tmp_path):
    images = tmp_path / "images"
    shutil.copytree(image_dir, images)
    fingerprint = manifest_lib.Manifest.read(images, "images").fingerprint("train")
    path = images / "train-00001-of-00003.tfrecord"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptArtifactError, match="train-00001-of-.*: holds other records"):
        image_facts.read_image_facts(images, "train", fingerprint)

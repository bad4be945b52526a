"""The generated image set, as records."""

import collections

from ccssl_tf.data.manifest import Manifest
from ccssl_tf.runs.json_files import read_json


def test_shards_hold_a_dense_mixed_index(commands, shapes_dir):
    manifest = Manifest.read(shapes_dir, "images")
    assert [shard.num_examples for shard in manifest.shards("train")] == [250] * 3
    records = list(commands.records(shapes_dir, "train"))
    assert [record["image/index"] for record in records] == list(range(750))
    assert len({record["image/filename"] for record in records}) == 750
    for record in records:
        label = int(record["image/filename"][6:12]) % 10
        assert record["image/class/label"] == label
        assert record["image/class/text"].decode() == manifest.info["class_names"][label]
        assert (record["image/height"], record["image/width"], record["image/format"]) == (
            24,
            24,
            b"jpeg",
        )
    for start in range(0, 750, 250):
        counts = collections.Counter(
            record["image/class/label"] for record in records[start : start + 250]
        )
        assert len(counts) == 10 and max(counts.values()) < 45


def test_tfds_reads_the_same(commands, shapes_dir):
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(shapes_dir)
    assert builder.info.splits["train"].num_examples == 750
    assert (
        builder.info.features["image/class/label"].names
        == Manifest.read(shapes_dir, "images").info["class_names"]
    )
    read = tfds.as_numpy(builder.as_dataset(split="val", shuffle_files=False))
    for theirs, ours in zip(read, commands.records(shapes_dir, "val"), strict=True):
        assert theirs["image/encoded"].shape == (24, 24, 3)
        for key in ("image/class/label", "image/index", "image/filename"):
            assert theirs[key] == ours[key]
    pairs = tfds.as_numpy(builder.as_dataset(split="val", as_supervised=True))
    for (image, label), ours in zip(pairs, commands.records(shapes_dir, "val"), strict=True):
        assert image.shape == (24, 24, 3) and label == ours["image/class/label"]


def test_finished_metrics_say_what_was_made(shapes_dir):
    assert read_json(shapes_dir / "metrics.json", remedy="") == {
        "bad_images": 0,
        "images": {"train": 750, "val": 20},
        "reencoded": {},
    }

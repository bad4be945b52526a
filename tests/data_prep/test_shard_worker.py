import contextlib
import io
import pathlib

import numpy as np
import pytest
from PIL import Image

from ccssl_tf.data import records
from ccssl_tf.runs.errors import ResourceError
from data_prep import shard_worker, worker_process
from data_prep.decoding import DecodeOptions
from data_prep.image_set import Item


class Counter:
    """Stands in for the shared counter of converted images."""

    value = 0

    def get_lock(self):
        return contextlib.nullcontext()


def jpeg_of(pixels):
    """Encodes [h, w, 3] uint8."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def _read(location):
    return location[0]


def _task(directory, images, first_index=0, class_names=None):
    items = [
        Item(b"%d" % i, -1 if class_names is None else i % 2, len(data), (data,))
        for i, data in enumerate(images)
    ]
    path = directory / "train-00000-of-00001.tfrecord"
    return shard_worker.ShardTask(path, items, first_index, _read, class_names, DecodeOptions())


@pytest.fixture
def images():
    return [jpeg_of(np.full((8, 9, 3), 40 * i, np.uint8)) for i in range(5)]


@pytest.fixture(autouse=True)
def counter(monkeypatch):
    counter = Counter()
    monkeypatch.setattr(worker_process, "_counter", counter)
    return counter


def _parsed(path):
    return [
        {key: value.numpy() for key, value in records.parse_image(record).items()}
        for record in records.read_shard(path)
    ]


def test_bad_images_are_left_out_and_remembered(tmp_path, images, counter):
    images[1] = b"<html>"
    task = _task(tmp_path, images, first_index=7, class_names=["a", "b"])
    record = shard_worker.convert_shard(task)
    parsed = _parsed(task.path)
    assert [image["index"] for image in parsed] == [7, 8, 9, 10]
    assert [(image["filename"], image["label"]) for image in parsed] == [
        (b"0", 0),
        (b"2", 0),
        (b"3", 1),
        (b"4", 0),
    ]
    assert [image["encoded"] for image in parsed] == [images[i] for i in (0, 2, 3, 4)]
    assert [(k, bytes.fromhex(name)) for k, name, _ in record.bad] == [(1, b"1")]
    assert counter.value == 5


def test_a_renumbered_shard_is_one_made_with_that_index(tmp_path, images):
    (tmp_path / "other").mkdir()
    task = _task(tmp_path, images, first_index=3)
    record = shard_worker.renumber_shard(tmp_path, shard_worker.convert_shard(task), 1)
    expected = shard_worker.convert_shard(_task(tmp_path / "other", images, first_index=1))
    assert record == expected
    assert shard_worker.ShardRecord.read(task.path) == expected


@pytest.mark.parametrize(
    "damage", ["missing", "shorter", "other_bytes", "no_record", "half_a_record", "foreign_record"]
)
def test_only_whole_shards_count_as_finished(tmp_path, images, damage):
    task = _task(tmp_path, images)
    record = shard_worker.convert_shard(task)
    assert shard_worker.ShardRecord.read(task.path) == record
    data, sidecar = task.path.read_bytes(), shard_worker.sidecar_path(task.path)
    if damage == "missing":
        task.path.unlink()
    elif damage == "shorter":
        task.path.write_bytes(data[:-1])
    elif damage == "other_bytes":
        task.path.write_bytes(data[:50] + b"?" + data[51:])
    elif damage == "no_record":
        sidecar.unlink()
    elif damage == "half_a_record":
        sidecar.write_bytes(sidecar.read_bytes()[:40])
    else:
        sidecar.write_text("[1, 2]")
    assert shard_worker.ShardRecord.read(task.path) is None


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_a_resource_error(tmp_path, monkeypatch):
    @contextlib.contextmanager
    def full_disk(path):
        yield pathlib.Path("/dev/full")

    monkeypatch.setattr(records, "atomic_file", full_disk)
    with pytest.raises(ResourceError, match="train-00000"):
        shard_worker.convert_shard(
            _task(
                tmp_path,
                [jpeg_of(np.random.default_rng(0).integers(0, 255, (500, 500, 3), np.uint8))] * 3,
            )
        )


def test_an_unlabelled_split_beside_a_labelled_one_reads_with_tfds(tmp_path):
    import tensorflow_datasets as tfds

    shards = {}
    for split, label in (("train", 1), ("val", -1)):
        example = records.image_example(
            encoded=b"",
            filename=b"\xff",
            height=1,
            width=1,
            index=0,
            label=label,
            text=b"b" if label == 1 else b"",
        )
        shards[split] = [
            records.write_shard(tmp_path / f"{split}-00000-of-00001.tfrecord", [example])
        ]
    shard_worker.write_tfds_metadata(tmp_path, shards, ["a", "b"])
    builder = tfds.builder_from_directory(tmp_path)
    decoders = {"image/encoded": tfds.decode.SkipDecoding()}
    read = {
        split: next(iter(tfds.as_numpy(builder.as_dataset(split=split, decoders=decoders))))
        for split in shards
    }
    assert {split: int(image["image/class/label"]) for split, image in read.items()} == {
        "train": 1,
        "val": -1,
    }
    assert read["val"]["image/filename"] == b"\xff"

"""The conversion commands, run as a user runs them; each start of TensorFlow in a worker costs seconds, so runs are shared."""

import collections
import hashlib
import json
import os
import pathlib
import random
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from ccssl_tf.data.manifest import Manifest
from data_prep.conversion import shards_for

ROOT = pathlib.Path(__file__).parents[2]
SHAPES = ("shapes", "--num_train=750", "--num_val=20", "--image_size=24")


def _start(module, *flags):
    command = [sys.executable, "-m", f"data_prep.{module}", *map(str, flags)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _run(module, *flags, code=0):
    process = _start(module, *flags)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == code, (output, errors)
    assert "Traceback" not in errors
    return output, errors


def _cpu_seconds():
    """Of the processes that have ended; wall-clock time would tell how busy the machine is."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _content(directory):
    """Name -> digest of every file that others read."""
    own = {"run.json", "DONE", "flags.txt", "timing.json", ".lock"}
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir() if path.name not in own}


def _records(directory, split):
    """Every image record of a split, in order."""
    import tensorflow as tf

    for shard in Manifest.read(directory, "images").shards(split):
        for serialized in tf.data.TFRecordDataset(str(directory / shard.name)).as_numpy_iterator():
            features = tf.train.Example.FromString(serialized).features.feature
            yield {key: (value.bytes_list.value or value.int64_list.value)[0] for key, value in features.items()}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    directory = tmp_path_factory.mktemp("shapes") / "out"
    output, errors = _run(*SHAPES, f"--output_dir={directory}", "--num_workers=2")
    assert errors == ""
    assert "750 train, 20 val images, 10 classes" in output and "images/s" in output
    return directory


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """520 small noisy JPEGs, some of other kinds, three of them broken; names that are no text."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i in range(520):
        name = os.fsencode(root) + (b"/%03d\xff\n.jpg" % i if i == 7 else b"/%03d.jpg" % i)
        pixels = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        with open(name, "wb") as file:
            Image.fromarray(pixels).save(file, "PNG" if i % 100 == 3 else "JPEG")
    for i, data in ((5, b""), (77, b"<html>"), (400, (root / "400.jpg").read_bytes()[:300])):
        (root / f"{i:03}.jpg").write_bytes(data)
    return root


def test_shards_hold_a_dense_mixed_index(shapes):
    manifest = Manifest.read(shapes, "images")
    assert [shard.num_examples for shard in manifest.shards("train")] == [250] * 3
    records = list(_records(shapes, "train"))
    assert [record["image/index"] for record in records] == list(range(750))
    assert len({record["image/filename"] for record in records}) == 750
    for record in records:
        label = int(record["image/filename"][6:12]) % 10
        assert record["image/class/label"] == label
        assert record["image/class/text"].decode() == manifest.info["class_names"][label]
        assert (record["image/height"], record["image/width"], record["image/format"]) == (24, 24, b"jpeg")
    for start in range(0, 750, 250):
        counts = collections.Counter(record["image/class/label"] for record in records[start : start + 250])
        assert len(counts) == 10 and max(counts.values()) < 45


def test_a_finished_directory_is_left_alone(shapes):
    before = _content(shapes)
    start = _cpu_seconds()
    output, _ = _run(*SHAPES, f"--output_dir={shapes}", "--num_workers=1")
    assert output == f"{shapes}: already complete\n"
    assert _cpu_seconds() - start < 2  # Without TensorFlow.
    assert _content(shapes) == before
    assert not list(shapes.glob("*.tfrecord.json")) and not list(shapes.glob("*.tmp-*"))
    _, errors = _run(*SHAPES, f"--output_dir={shapes}", "--seed=1", code=2)
    assert errors.count("\n") == 1 and "--seed=0" in errors


def test_tfds_reads_the_same(shapes):
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(shapes)
    assert builder.info.splits["train"].num_examples == 750
    assert builder.info.features["image"]["class"]["label"].names == Manifest.read(shapes, "images").info["class_names"]
    read = tfds.as_numpy(builder.as_dataset(split="val", shuffle_files=False))
    for theirs, ours in zip(read, _records(shapes, "val"), strict=True):
        assert theirs["image"]["encoded"].shape == (24, 24, 3)
        assert theirs["image"]["class"]["label"] == ours["image/class/label"]
        assert theirs["image"]["index"] == ours["image/index"]
        assert theirs["image"]["filename"] == ours["image/filename"]


def _children(pid):
    found = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in found.read_text().split()] if found.exists() else []


def _kill_and_resume(directory, expected, wait):
    """Kills the command when `wait` returns, sees its workers go, finishes it, compares."""
    process = _start(*SHAPES, f"--output_dir={directory}", "--num_workers=1")
    wait(process)
    workers = _children(process.pid)
    process.kill()
    process.communicate()
    deadline = time.time() + 60
    while any(pathlib.Path(f"/proc/{worker}/stat").exists() for worker in workers):
        assert time.time() < deadline, "a worker outlives its killed parent"
        time.sleep(0.1)
    output, _ = _run(*SHAPES, f"--output_dir={directory}", "--num_workers=2")
    assert _content(directory) == expected
    return output


def _until_first_shard(directory):
    def wait(process):
        while process.poll() is None and not list(directory.glob("*.tfrecord.json")):
            time.sleep(0.02)

    return wait


def test_kill_and_resume_gives_the_same_bytes(shapes, tmp_path):
    output = _kill_and_resume(tmp_path / "out", _content(shapes), _until_first_shard(tmp_path / "out"))
    assert "continuing: " in output


@pytest.mark.slow
@pytest.mark.parametrize("trial", range(8))
def test_kill_at_any_time(shapes, tmp_path, trial):
    _kill_and_resume(tmp_path / "out", _content(shapes), lambda _: time.sleep(random.Random(trial).uniform(0.1, 12)))


def test_sigterm_and_a_killed_worker_end_resumable(shapes, tmp_path):
    out = tmp_path / "out"
    process = _start(*SHAPES, f"--output_dir={out}", "--num_workers=1")
    _until_first_shard(out)(process)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.count("\n")) == (75, 1), errors
    assert not list(out.glob("*.tmp-*"))
    # A shard that changed since is made again.
    done = next(path for path in sorted(out.glob("*.tfrecord")))
    done.write_bytes(done.read_bytes()[:-1] + b"\0")
    process = _start(*SHAPES, f"--output_dir={out}", "--num_workers=1")
    time.sleep(2)
    # The last child is the worker; the first may be multiprocessing's resource tracker.
    os.kill(_children(process.pid)[-1], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75 and "a process was killed" in errors and "Traceback" not in errors
    _run(*SHAPES, f"--output_dir={out}")
    assert _content(out) == _content(shapes)


def test_bad_images_are_named_and_left_out(photos, tmp_path):
    flags = ("image_folder", f"--source={photos}", "--val_fraction=0", "--num_workers=1")
    out = tmp_path / "out"
    _, errors = _run(*flags, f"--output_dir={out}", code=2)
    assert errors.count("\n") == 1 and "bad image" in errors and any(name in errors for name in ("005.jpg", "077.jpg", "400.jpg"))
    assert not (out / "manifest.json").exists() and not (out / "DONE").exists()
    output, _ = _run(*flags, f"--output_dir={out}", "--max_bad_images=3")
    assert "left out 3 bad images" in output
    lines = (out / "bad_images.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == ["005.jpg", "077.jpg", "400.jpg"]
    manifest = Manifest.read(out, "images")
    assert manifest.num_examples("train") == 517
    assert manifest.info["bad_images"] == 3 and manifest.info["reencoded"] == {"png": 6, "total": 6}
    records = list(_records(out, "train"))
    assert [record["image/index"] for record in records] == list(range(517))
    assert {record["image/class/label"] for record in records} == {-1}
    assert b"007\xff\n.jpg" in {record["image/filename"] for record in records}
    for record in records:
        if record["image/filename"] != b"007\xff\n.jpg" and int(record["image/filename"][:3]) % 100 != 3:
            assert record["image/encoded"] == (photos / record["image/filename"].decode()).read_bytes()
    # Made in one go, by more processes: the same bytes.
    _run(*flags[:-1], f"--output_dir={tmp_path / 'again'}", "--max_bad_images=9", "--num_workers=2")
    assert _content(tmp_path / "again") == _content(out)
    import tensorflow_datasets as tfds

    labels = [x["image"]["class"]["label"] for x in tfds.as_numpy(tfds.builder_from_directory(out).as_dataset(split="train"))]
    assert labels == [-1] * 517


def test_an_unlabelled_split_beside_a_labelled_one_reads_with_tfds(tmp_path):
    import tensorflow_datasets as tfds

    from ccssl_tf.data import records
    from data_prep import shard_worker

    shards = {}
    for split, label in (("train", 1), ("val", -1)):
        example = records.image_example(
            encoded=b"", filename=b"\xff", height=1, width=1, index=0, label=label, text=b"b" if label == 1 else b""
        )
        shards[split] = [records.write_shard(tmp_path / f"{split}-00000-of-00001.tfrecord", [example])]
    shard_worker.write_tfds_metadata(tmp_path, shards, ["a", "b"])
    builder = tfds.builder_from_directory(tmp_path)
    decoders = {"image": {"encoded": tfds.decode.SkipDecoding()}}
    read = {split: next(iter(tfds.as_numpy(builder.as_dataset(split=split, decoders=decoders))))["image"] for split in shards}
    assert {split: int(image["class"]["label"]) for split, image in read.items()} == {"train": 1, "val": -1}
    assert read["val"]["filename"] == b"\xff"


def test_refusals_leave_nothing_behind(photos, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    out = tmp_path / "out"
    cases = [
        ((f"--source={tmp_path / 'nothing'}", f"--output_dir={out}"), 2, "no such file or directory"),
        ((f"--source={tmp_path / 'empty'}", f"--output_dir={out}"), 2, "holds no images"),
        ((f"--source={photos}", f"--output_dir={photos / 'out'}"), 2, "lies inside"),
        ((f"--source={photos}", f"--output_dir={tmp_path / 'mine'}"), 2, "already holds something else"),
        ((f"--source={photos}", f"--output_dir={tmp_path / 'file'}"), 2, "is a file"),
        ((f"--source={photos}", f"--output_dir={out}", "--labels=folders"), 2, "lies in no class folder"),
        ((f"--source={photos}",), 1, "--output_dir"),
        ((f"--output_dir={out}",), 1, "--source"),
        ((f"--source={photos}", f"--output_dir={out}", "--val_fraction=2"), 1, "val_fraction"),
        ((f"--source={photos}", f"--output_dir={out}", "stray"), 1, "stray"),
    ]
    for flags, code, message in cases:
        start = _cpu_seconds()
        output, errors = _run("image_folder", *flags, code=code)
        assert message in errors and errors.count("\n") == 1, (flags, errors)
        assert _cpu_seconds() - start < 3
    assert not out.exists() and not (photos / "out").exists()
    output, _ = _run("image_folder", f"--source={photos}", f"--output_dir={out}", "--dry_run")
    assert "468 train, 52 val images" in output and "nothing written" in output
    assert not out.exists()


@pytest.mark.parametrize("module", ["shapes", "image_folder", "imagenet"])
def test_help_answers_at_once(module):
    start = _cpu_seconds()
    output, _ = _run(module, "--help")
    assert f"python -m data_prep.{module}" in output and "--resize_short_side" in output
    assert _cpu_seconds() - start < 2


def test_the_number_of_shards_is_a_function_of_the_data():
    assert shards_for("train", 1, 100) == 1
    assert shards_for("train", 3000, 12e6) == 12
    assert shards_for("train", 15000, 30e6) == 16
    assert shards_for("train", 1_281_167, 140e9) == 1024
    assert shards_for("val", 50_000, 6.7e9) == 50
    assert shards_for("val", 36_500, 40e9) == 128
    assert shards_for("train", 3, 1e12) == 3


def test_finished_metrics_say_what_was_made(shapes):
    assert json.loads((shapes / "metrics.json").read_text()) == {"bad_images": 0, "images": {"train": 750, "val": 20}, "reencoded": {}}

"""A shard of the right name and size with other records is refused before any work: by a sample of
its bytes, whatever its size; `data_prep.verify` (tests/data_prep/test_verification.py) reads all.
"""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from conftest import flag_words, write_images

from ccssl_tf import cluster, train
from ccssl_tf.clustering.pseudo_labels import PseudoLabels, write_pseudo_labels
from ccssl_tf.data import records
from ccssl_tf.data.feature_directory import DirectorySource, feature_records
from ccssl_tf.data.manifest import Manifest, shard_name
from ccssl_tf.runs.errors import CorruptArtifactError
from ccssl_tf.runs.files import write_json
from ccssl_tf.runs.launch import run_command


def write_features(directory, seed):
    """Two shards of 300 rows each: about 600 kB, so that no sample has all of it."""
    directory.mkdir()
    rows = np.random.default_rng(seed).normal(size=[600, 256]).astype(np.float32)
    shards = [
        records.write_shard(
            directory / shard_name("train", number, 2),
            feature_records([(np.arange(*part), rows[slice(*part)])]),
            num_examples=300,
        )
        for number, part in enumerate([(0, 300), (300, 600)])
    ]
    info = dict(dim=256, dtype="float32", images_fingerprint="1a2b", extractor=dict(name="x"))
    Manifest("features", dict(train=shards), info).write(directory)
    return directory


def relabelled(path):
    """Gives every image of a shard another label: records of the same sizes, whole checksums."""
    examples = []
    for serialized in list(records.read_shard(path)):
        example = tf.train.Example.FromString(serialized)
        label = example.features.feature["image/class/label"].int64_list.value
        label[0] = (label[0] + 1) % 3
        examples.append(example.SerializeToString())
    return records.write_shard(path, examples)


def refused(capsys, command, **flags):
    """Returns the line a command ends with, and checks its code and that it has written nothing."""
    assert run_command(command.COMMAND, command.main, flag_words(**flags)) == 3
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert not flags["workdir"].exists()
    return line


def test_features_of_another_run(tmp_path, capsys):
    ours, theirs = (write_features(tmp_path / name, seed) for seed, name in enumerate("ab"))
    shard = shard_name("train", 1, 2)
    assert (ours / shard).stat().st_size == (theirs / shard).stat().st_size
    shutil.copy(theirs / shard, ours / shard)
    line = refused(
        capsys, cluster, features_dir=ours, num_clusters=2, workdir=tmp_path / "clusters"
    )
    assert f"{ours / shard}: holds other records than were written there" in line
    with pytest.raises(CorruptArtifactError, match="holds other records"):
        DirectorySource(ours)


def test_shards_that_changed_places(tmp_path):
    ours = write_features(tmp_path / "a", 0)
    first, second = (ours / shard_name("train", number, 2) for number in range(2))
    first.rename(tmp_path / "spare")
    second.rename(first)
    (tmp_path / "spare").rename(second)
    with pytest.raises(CorruptArtifactError, match=f"{first.name}: holds other records"):
        DirectorySource(ours)


def test_images_of_another_run(tmp_path, capsys):
    ours = tmp_path / "images"
    write_images(ours, dict(train=[8, 8], val=[8]))
    shard, whole = ours / shard_name("train", 1, 2), Manifest.read(ours, "images")
    size = shard.stat().st_size
    relabelled(shard)
    assert shard.stat().st_size == size
    line = refused(
        capsys, train, task="rotation", data_dir=ours, image_size=32, width_multiplier=0.1,
        batch_size=8, train_steps=1, workdir=tmp_path / "run",
    )  # fmt: skip
    assert f"{shard}: holds other records than were written there" in line
    # A manifest of version 0.1 has no samples: there `data_prep.verify` alone can tell.
    raw = json.loads((ours / "manifest.json").read_text())
    del raw["checksum"]
    for shards in raw["splits"].values():
        for one in shards:
            del one["sample_sha256"]
    (ours / "manifest.json").write_text(json.dumps(raw))
    assert Manifest.read(ours, "images").fingerprint() == whole.fingerprint()


def test_pseudo_labels_of_another_run(tmp_path, image_dir, capsys):
    fingerprint = Manifest.read(image_dir, "images").fingerprint("train")
    for name, seed in (("a", 0), ("b", 1)):
        labels = np.random.default_rng(seed).integers(0, 3, 48)
        split = PseudoLabels(fingerprint, np.arange(48), labels, np.zeros(48))
        write_pseudo_labels(tmp_path / name, dict(train=split), num_clusters=3)
    shard = shard_name("train", 0, 1)
    shutil.copy(tmp_path / "b" / shard, tmp_path / "a" / shard)
    line = refused(
        capsys, train, task="cluster_classification", data_dir=image_dir,
        pseudo_labels=tmp_path / "a", image_size=32, width_multiplier=0.1, batch_size=8,
        train_steps=1, workdir=tmp_path / "run",
    )  # fmt: skip
    assert f"{tmp_path / 'a' / shard}: holds other records than were written there" in line


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "below/x", "..", "", "a\0b"])
def test_names_of_files_elsewhere(tmp_path, name):
    ours = write_features(tmp_path / "a", 0)
    raw = json.loads((ours / "manifest.json").read_text())
    raw["splits"]["train"][0]["name"] = name
    del raw["checksum"]
    write_json(ours / "manifest.json", raw)
    with pytest.raises(CorruptArtifactError, match="which is no file of this directory"):
        Manifest.read(ours, "features")


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(dim=None), "info.dim holds nothing instead of a whole number from 1"),
        (dict(dim="256"), "info.dim holds '256' instead of a whole number"),
        (dict(dtype="float99"), "info.dtype holds 'float99' instead of float16 or float32"),
        (dict(dtype=None), "info.dtype holds nothing"),
    ],
)
def test_a_manifest_of_features_without_what_they_are(tmp_path, capsys, change, message):
    ours = write_features(tmp_path / "a", 0)
    manifest = Manifest.read(ours, "features")
    info = {name: value for name, value in (manifest.info | change).items() if value is not None}
    Manifest("features", manifest.splits, info).write(ours)
    line = refused(
        capsys, cluster, features_dir=ours, num_clusters=2, workdir=tmp_path / "clusters"
    )
    assert f"{ours / 'manifest.json'}: damaged ({message}" in line

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.clustering import pseudo_labels, read_pseudo_labels, write_pseudo_labels
from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.data import records
from ccssl_tf.runs.errors import CorruptArtifactError, InputError


def some_labels(count=50, clusters=4, seed=0, fingerprint="a" * 64):
    generator = np.random.default_rng(seed)
    index = generator.permutation(count)
    names = [f"\xe9/{number}.jpg".encode("latin-1") for number in index]
    labels = generator.integers(0, clusters, count).astype(np.int32)
    return pseudo_labels.PseudoLabels(
        fingerprint, index, labels, generator.random(count).astype(np.float32), names
    )


def test_labels_come_back_by_image_index(tmp_path, monkeypatch):
    monkeypatch.setattr(pseudo_labels, "_SHARD_ROWS", 20)
    train, val = some_labels(50, seed=1), some_labels(7, seed=2, fingerprint="b" * 64)
    manifest = write_pseudo_labels(
        tmp_path, {"train": train, "val": val}, num_clusters=4, info=dict(note="x")
    )
    assert [shard.num_examples for shard in manifest.shards("train")] == [20, 20, 10]
    assert manifest_lib.Manifest.read(tmp_path, "pseudo_labels") == manifest
    for split, labels in (("train", train), ("val", val)):
        vector = read_pseudo_labels(tmp_path, split, labels.images_fingerprint)
        np.testing.assert_array_equal(vector, read_pseudo_labels(tmp_path, split))
        assert vector.dtype == np.int32
        for index, label in zip(labels.index, labels.labels, strict=True):
            assert vector[index] == label
    stored = tf.data.TFRecordDataset(str(tmp_path / manifest.shards("val")[0].name)).map(
        records.parse_pseudo_label
    )
    for row, record in enumerate(stored.as_numpy_iterator()):
        assert (record["filename"], record["index"]) == (val.filenames[row], val.index[row])
        assert record["distance"] == val.distances[row]


def with_nearest(labels, count=3, clusters=4):
    """The same with nearest clusters that begin with the label."""
    others = np.arange(count) + labels.labels[:, None]
    lengths = labels.distances[:, None] + np.arange(count, dtype=np.float32)
    return dataclasses.replace(
        labels, nearest=(others % clusters).astype(np.int32), nearest_distances=lengths
    )


def test_nearest_clusters_come_back_by_image_index(tmp_path, monkeypatch):
    monkeypatch.setattr(pseudo_labels, "_SHARD_ROWS", 20)
    labels = with_nearest(some_labels())
    manifest = write_pseudo_labels(tmp_path, {"train": labels}, num_clusters=4)
    assert manifest.info["num_nearest"] == 3
    found = pseudo_labels.read_split(tmp_path, "train", "a" * 64)
    np.testing.assert_array_equal(found.index, np.arange(50))
    for name in ("labels", "distances", "nearest", "nearest_distances"):
        np.testing.assert_array_equal(getattr(found, name)[labels.index], getattr(labels, name))
    np.testing.assert_allclose(pseudo_labels.margins(found.nearest_distances), 1, rtol=1e-6)


def test_nearest_clusters_that_cannot_be(tmp_path):
    labels = with_nearest(some_labels())
    for wrong, message in ((labels.nearest + 4, "outside of 4"), (labels.nearest[:, ::-1], "not")):
        with pytest.raises(InputError, match=f"nearest cluster .*{message}"):
            splits = {"train": dataclasses.replace(labels, nearest=wrong)}
            write_pseudo_labels(tmp_path, splits, num_clusters=4)
    with pytest.raises(InputError, match=r"splits with \[0, 3\] nearest"):
        splits = dict(train=labels, val=some_labels(7))
        write_pseudo_labels(tmp_path, splits, num_clusters=4)
    assert not list(tmp_path.iterdir())


def test_other_images_and_splits_are_refused(tmp_path):
    write_pseudo_labels(tmp_path, {"train": some_labels()}, num_clusters=4)
    with pytest.raises(InputError, match="a{64}.*c{64}"):
        read_pseudo_labels(tmp_path, "train", "c" * 64)
    with pytest.raises(InputError, match="no split 'val'"):
        read_pseudo_labels(tmp_path, "val", "a" * 64)


@pytest.mark.parametrize("fault", ["missing", "twice", "label", "negative"])
def test_wrong_labels_are_not_written_and_not_read(tmp_path, fault, monkeypatch):
    labels = some_labels()
    if fault == "missing":
        labels.index[labels.index == 49] = 50
    elif fault == "twice":
        labels.index[3] = labels.index[4]
    else:
        labels.labels[5] = 4 if fault == "label" else -1
    with pytest.raises(InputError, match="pseudo-labels of split train"):
        write_pseudo_labels(tmp_path, {"train": labels}, num_clusters=4)
    assert not list(tmp_path.iterdir())
    with monkeypatch.context() as patched:
        patched.setattr(pseudo_labels, "_fault", lambda *unused: None)
        write_pseudo_labels(tmp_path, {"train": labels}, num_clusters=4)
    with pytest.raises(CorruptArtifactError, match="pseudo-labels of split train"):
        read_pseudo_labels(tmp_path, "train", "a" * 64)


def test_damaged_records_are_named(tmp_path):
    write_pseudo_labels(tmp_path, {"train": some_labels()}, num_clusters=4)
    (path,) = tmp_path.glob("*.tfrecord")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptArtifactError, match=path.name):
        read_pseudo_labels(tmp_path, "train", "a" * 64)

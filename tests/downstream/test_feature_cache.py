"""In memory and on disk the same rows, in orders that cover the epoch and resume; what cannot be is
refused.
"""

import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.data import image_batches
from ccssl_tf.data.pipeline import Epoch
from ccssl_tf.downstream import feature_cache as lib
from ccssl_tf.downstream import feature_rows
from ccssl_tf.runs.errors import CorruptArtifactError, InputError, ResourceError

DIM = 12


def compute(images):
    """Means of four parts of the image, by channel."""
    return tf.reshape(
        tf.reduce_mean(tf.reshape(tf.cast(images, tf.float32), [-1, 2, 16, 2, 16, 3]), [2, 4]),
        [-1, DIM],
    )


def make(image_dir, directory=None, memory_bytes=2**20, compute=compute, **changes):
    settings = dict(
        dim=DIM,
        describe=dict(backbone_fingerprint="x"),
        data_dir=image_dir,
        image_size=32,
        num_classes=3,
        batch_size=8,
    )
    settings |= dict(strategy=tf.distribute.get_strategy())
    return lib.FeatureCache(
        compute, directory=directory, memory_bytes=memory_bytes, **settings | changes
    )


def rows(batches):
    return {
        name: np.concatenate([batch[name].numpy() for batch in batches])
        for name in ("index", "features", "label", "weight")
    }


@pytest.mark.parametrize("on_disk", [False, True])
def test_evaluation_has_every_image_once(image_dir, tmp_path, on_disk):
    cache = make(image_dir, tmp_path, memory_bytes=0 if on_disk else 2**20)
    held = rows(list(cache.batches("val", Epoch(6, training=False))))
    assert len(held["index"]) == 18 and held["weight"].tolist() == [1] * 16 + [0] * 2
    epoch = Epoch(6, training=False)
    batches = image_batches.augmented_images(image_dir, "val", epoch, image_size=32)
    images = [batch["image"] for batch in batches]
    np.testing.assert_allclose(held["features"][:16], compute(tf.concat(images, 0))[:16], rtol=1e-3)
    np.testing.assert_array_equal(held["index"][:16], np.arange(16))
    np.testing.assert_array_equal(held["label"][:16], np.arange(16) % 3)
    assert (tmp_path / "val" / "manifest.json").is_file() == on_disk


@pytest.mark.parametrize("window_bytes", [1, 24 * 20, 2**20])
def test_training_orders_on_disk(image_dir, tmp_path, monkeypatch, window_bytes):
    monkeypatch.setattr(feature_rows, "WINDOW_BYTES", window_bytes)
    cache = make(image_dir, tmp_path, memory_bytes=0)
    whole = list(cache.batches("train", Epoch(10, seed=1, number=2)))
    assert len(whole) == 4
    held, by_index = rows(whole), rows(list(cache.batches("train", Epoch(16, training=False))))
    assert len(set(held["index"].tolist())) == 40
    np.testing.assert_array_equal(held["features"], by_index["features"][held["index"]])
    np.testing.assert_array_equal(held["label"], by_index["label"][held["index"]])
    for first in range(5):
        rest = list(cache.batches("train", Epoch(10, seed=1, number=2, first_batch=first)))
        assert len(rest) == 4 - first
        for ours, theirs in zip(rest, whole[first:], strict=True):
            np.testing.assert_array_equal(ours["index"], theirs["index"])
            np.testing.assert_array_equal(ours["features"], theirs["features"])
    other = rows(list(cache.batches("train", Epoch(10, seed=1, number=3))))
    assert (other["index"] != held["index"]).any()


def test_shards_of_other_features_are_refused_and_own_ones_are_kept(image_dir, tmp_path):
    list(make(image_dir, tmp_path, memory_bytes=0).batches("val", Epoch(8, training=False)))
    before = (tmp_path / "val" / "manifest.json").stat().st_mtime_ns
    list(make(image_dir, tmp_path, memory_bytes=0).batches("val", Epoch(8, training=False)))
    assert (tmp_path / "val" / "manifest.json").stat().st_mtime_ns == before
    with pytest.raises(InputError, match="made with another backbone_fingerprint"):
        make(image_dir, tmp_path, memory_bytes=0, describe=dict(backbone_fingerprint="y")).batches(
            "val", Epoch(8, training=False)
        )


def test_what_does_not_fit_is_refused(image_dir, tmp_path, monkeypatch):
    with pytest.raises(
        InputError, match="48 images x 12 numbers need 0.0 GB, more than --cache_memory_gb=0"
    ):
        make(image_dir, memory_bytes=0).batches("train", Epoch(8))
    with pytest.raises(InputError, match="48 images, fewer than one batch"):
        make(image_dir).batches("train", Epoch(64))
    monkeypatch.setattr(lib.shutil, "disk_usage", lambda path: type("Usage", (), dict(free=10)))
    with pytest.raises(ResourceError, match="the features of split train need"):
        make(image_dir, tmp_path, memory_bytes=0).batches("train", Epoch(8))


def test_a_damaged_file_of_rows_is_refused(image_dir, tmp_path):
    list(make(image_dir, tmp_path, memory_bytes=0).batches("val", Epoch(8, training=False)))
    path = tmp_path / "val" / "rows.npy"
    np.save(path, np.zeros([2, 3], np.int64))
    with pytest.raises(CorruptArtifactError, match=r"\[2, 3\] instead of two rows of 16"):
        make(image_dir, tmp_path, memory_bytes=0).batches("val", Epoch(8, training=False))
    path.write_bytes(b"no array")
    with pytest.raises(CorruptArtifactError, match="rows.npy: damaged"):
        make(image_dir, tmp_path, memory_bytes=0).batches("val", Epoch(8, training=False))


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("scale", [1e-9, 1e6])
def test_features_that_float16_would_lose_are_kept_as_float32(image_dir, tmp_path, on_disk, scale):
    cache = make(
        image_dir,
        tmp_path,
        memory_bytes=0 if on_disk else 2**20,
        compute=lambda images: compute(images) * scale,
    )
    epoch = Epoch(6, training=False)
    held = rows(list(cache.batches("val", epoch)))["features"]
    plain = rows(list(make(image_dir).batches("val", epoch)))["features"]
    np.testing.assert_allclose(held / scale, plain, rtol=1e-3)
    assert held.dtype == np.float32 and plain.dtype == np.float16

"""Batches of whole, cropped and augmented images: which images, in which order, cut how."""

import shutil

import numpy as np
import pytest
import tensorflow as tf
from conftest import write_images

from ccssl_tf.data import image_ops
from ccssl_tf.data.image_batches import (
    augmented_images,
    cropped_images,
    evaluation_images,
    held_out_split,
)
from ccssl_tf.data.manifest import shard_name
from ccssl_tf.data.pipeline import Epoch
from ccssl_tf.runs.errors import CorruptArtifactError, InputError


@pytest.fixture(scope="module")
def uneven_dir(tmp_path_factory):
    """31 images in 7 shards of different sizes."""
    directory = tmp_path_factory.mktemp("uneven") / "data"
    write_images(directory, {"train": [3, 6, 1, 8, 4, 2, 7]})
    return directory


def encoded_images(directory):
    """The JPEG of every training image, by its number."""
    encoded = []
    for path in sorted(directory.glob("train-*")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            features = tf.train.Example.FromString(record).features.feature
            encoded.append(features["image/encoded"].bytes_list.value[0])
    return encoded


AUGMENTED = dict(
    read=lambda directory, epoch: augmented_images(directory, "train", epoch, image_size=24),
    random=lambda encoded, seed: image_ops.augmented_crop(encoded, 24, seed),
    centre=lambda encoded: image_ops.evaluation_crop(encoded, 24),
)
CROPPED = dict(
    read=lambda directory, epoch: cropped_images(
        directory, "train", epoch, crop_size=24, short_side=30
    ),
    random=lambda encoded, seed: image_ops.random_crop(encoded, 24, 30, seed),
    centre=lambda encoded: image_ops.center_crop(encoded, 24, 30),
)


@pytest.mark.parametrize("kind", [AUGMENTED, CROPPED], ids=["augmented", "cropped"])
def test_training_cuts_by_the_seed_and_evaluation_the_centre(uneven_dir, kind):
    encoded = encoded_images(uneven_dir)
    orders = []
    for number in (0, 1):
        found = list(kind["read"](uneven_dir, Epoch(5, 3, number)).as_numpy_iterator())
        assert len(found) == 6
        for batch in found:
            assert batch.keys() == {"image", "seed", "index", "label"}
            assert batch["image"].shape == (5, 24, 24, 3) and batch["image"].dtype == np.uint8
            for image, index, seed in zip(
                batch["image"], batch["index"], batch["seed"], strict=True
            ):
                np.testing.assert_array_equal(image, kind["random"](encoded[index], seed))
        orders.append(np.concatenate([batch["index"] for batch in found]).tolist())
        tail = list(kind["read"](uneven_dir, Epoch(5, 3, number, 4)).as_numpy_iterator())
        for expected, batch in zip(found[4:], tail, strict=True):
            np.testing.assert_array_equal(batch["image"], expected["image"])
    assert orders[0] != orders[1]
    found = list(kind["read"](uneven_dir, Epoch(5, training=False)).as_numpy_iterator())
    images, weight = (np.concatenate([b[name] for b in found]) for name in ("image", "weight"))
    assert weight.sum() == 31 and len(images) == 35
    for image, one in zip(images, encoded, strict=False):
        np.testing.assert_array_equal(image, kind["centre"](one))


def test_copies_are_passed_on(uneven_dir):
    copies = np.array([2] * 5 + [0] * 26, np.int32)
    dataset = augmented_images(uneven_dir, "train", Epoch(5), image_size=24, copies=copies)
    indices = np.concatenate([batch["index"] for batch in dataset.as_numpy_iterator()])
    assert sorted(indices) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    with pytest.raises(InputError, match="has 10 images, fewer than one batch"):
        cropped_images(uneven_dir, "train", Epoch(11), crop_size=24, short_side=30, copies=copies)


def test_the_held_out_split_is_val_where_there_is_one(image_dir, uneven_dir, tmp_path):
    assert held_out_split(image_dir) == "val"
    assert held_out_split(uneven_dir) is None
    with pytest.raises(InputError, match="no such directory"):
        held_out_split(tmp_path / "none")


def images(directory, batch_size, **options):
    return list(
        evaluation_images(
            directory, "train", image_size=24, batch_size=batch_size, **options
        ).as_numpy_iterator()
    )


def test_images_in_file_order_with_a_partial_last_batch(uneven_dir):
    found = images(uneven_dir, 8)
    assert [len(batch["index"]) for batch in found] == [8, 8, 8, 7]
    assert found[0].keys() == {"image", "index", "label", "filename"}
    assert [index for batch in found for index in batch["index"]] == list(range(31))
    assert found[3]["image"].shape == (7, 24, 24, 3) and found[3]["image"].dtype == np.uint8
    assert found[0]["filename"][1] == b"train 1-\xff\xe9.jpg"
    record = next(
        tf.data.TFRecordDataset(str(uneven_dir / shard_name("train", 1, 7))).as_numpy_iterator()
    )
    encoded = (
        tf.train.Example.FromString(record).features.feature["image/encoded"].bytes_list.value[0]
    )
    np.testing.assert_array_equal(found[0]["image"][3], image_ops.whole_image(encoded, 24))


def test_images_of_chosen_shards(uneven_dir):
    starts = np.cumsum([0, 3, 6, 1, 8, 4, 2, 7])
    for shards in ([1], [5, 2], [6, 0, 3], []):
        expected = [index for shard in shards for index in range(starts[shard], starts[shard + 1])]
        assert [
            index for batch in images(uneven_dir, 4, shards=shards) for index in batch["index"]
        ] == expected


@pytest.mark.parametrize("batch_size", [1, 3, 4, 100])
def test_batches_of_chosen_shards_hold_images_of_one(uneven_dir, batch_size):
    starts = np.cumsum([0, 3, 6, 1, 8, 4, 2, 7])
    expected = [
        list(range(first, min(first + batch_size, starts[shard + 1])))
        for shard in (5, 0, 2, 3)
        for first in range(starts[shard], starts[shard + 1], batch_size)
    ]
    found = images(uneven_dir, batch_size, shards=[5, 0, 2, 3])
    assert [batch["index"].tolist() for batch in found] == expected
    whole = {
        index: image
        for batch in images(uneven_dir, 8)
        for index, image in zip(batch["index"], batch["image"], strict=True)
    }
    for batch in found:
        np.testing.assert_array_equal(batch["image"], [whole[index] for index in batch["index"]])


@pytest.mark.parametrize("batch_size", [2, 4])
@pytest.mark.parametrize("records_kept", [7, 9])
def test_a_chosen_shard_with_fewer_or_more_records_than_its_manifest_says_is_refused(
    uneven_dir, tmp_path, batch_size, records_kept
):
    shutil.copytree(uneven_dir, tmp_path / "copy")
    path = tmp_path / "copy" / shard_name("train", 3, 7)
    records_there = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number in range(records_kept):
            writer.write(records_there[number % 8])
    with pytest.raises((tf.errors.FailedPreconditionError, CorruptArtifactError)):
        images(tmp_path / "copy", batch_size, shards=[2, 3, 4])

"""The images of a calibration are a choice that the seed makes."""

import numpy as np
import pytest

from ccssl_tf.data import image_ops, records
from ccssl_tf.data.manifest import shard_name
from ccssl_tf.downstream.formats import calibration
from ccssl_tf.runs.errors import InputError


def rows(images):
    return [image.tobytes() for image in images]


def test_images_of_the_training_split_as_an_evaluation_crops_them(image_dir):
    images = calibration.calibration_images(image_dir, 24, seed=0)
    expected = [
        image_ops.evaluation_crop(records.parse_image(one)["encoded"], 24).numpy().tobytes()
        for shard in range(3)
        for one in records.read_shard(image_dir / shard_name("train", shard, 3))
    ]
    assert images.shape == (48, 24, 24, 3) and images.dtype == np.uint8
    assert sorted(rows(images)) == sorted(expected)


def test_the_seed_chooses(image_dir, monkeypatch):
    monkeypatch.setattr(calibration, "NUM_IMAGES", 20)
    chosen = [rows(calibration.calibration_images(image_dir, 24, seed)) for seed in (0, 0, 1)]
    assert len(chosen[0]) == 20 and chosen[0] == chosen[1]
    assert set(chosen[0]) != set(chosen[2])


def test_a_split_of_another_name(voc_dir):
    assert len(calibration.calibration_images(voc_dir, 24, seed=0)) == 48


def test_no_image_shards(tmp_path):
    with pytest.raises(InputError, match="no such directory"):
        calibration.calibration_images(tmp_path / "none", 24, seed=0)

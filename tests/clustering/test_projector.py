"""Points, photos and names as TensorBoard's own reader and PIL find them."""

import csv
import io

import numpy as np
import pytest
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins.projector import projector_plugin
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from ccssl_tf.clustering import projector
from ccssl_tf.data import image_list
from ccssl_tf.data.image_facts import read_image_facts
from ccssl_tf.data.manifest import Manifest


@pytest.fixture
def facts(image_dir):
    fingerprint = Manifest.read(image_dir, "images").fingerprint("train")
    return read_image_facts(image_dir, "train", fingerprint)


def test_every_point_has_its_photo_cluster_and_class(tmp_path, facts):
    random = np.random.default_rng(0)
    index, labels = random.permutation(48)[:10], random.integers(0, 5, 10)
    distances = random.random(10)
    features = random.normal(3, 1, [10, 70]).astype(np.float32)
    arguments = (index, labels, distances, ["one", "t\two", "c"], features)
    projector.write(tmp_path / "tensorboard", facts, *arguments)
    directory = tmp_path / "tensorboard"
    config = text_format.Parse(
        (directory / "projector_config.pbtxt").read_text(), ProjectorConfig()
    )
    (one,) = config.embeddings
    points = projector_plugin._read_tensor_tsv_file(str(directory / one.tensor_path))
    apart = np.linalg.norm(features[:, None] - features, axis=-1)
    # All ten axes that ten points have.
    np.testing.assert_allclose(np.linalg.norm(points[:, None] - points, axis=-1), apart, atol=0.05)
    head, *rows = csv.reader((directory / one.metadata_path).open(), delimiter="\t")
    assert head == ["cluster", "class", "distance", "filename"]
    assert [int(row[0]) for row in rows] == labels.tolist()
    assert [row[1] for row in rows] == [("one", "t wo", "c")[facts.labels[i]] for i in index]
    assert [row[3] for row in rows] == [image_list.text_of(facts.filenames[i]) for i in index]
    sheet = Image.open(directory / one.sprite.image_path)
    side, height = one.sprite.single_image_dim
    # The page takes as many columns as a square needs.
    assert sheet.size == (4 * side, 4 * height)
    for place, image in enumerate(index):
        left, top = place % 4 * side, place // 4 * side
        photo = Image.open(io.BytesIO(facts.encoded(int(image)))).convert("RGB")
        photo.thumbnail((side, side))
        middle = np.asarray(sheet.crop((left, top, left + side, top + side)), float).mean((0, 1))
        area = photo.width * photo.height / side**2
        expected = np.asarray(photo, float).mean((0, 1)) * area + 255 * (1 - area)
        np.testing.assert_allclose(middle, expected, atol=6)


def test_images_without_classes(tmp_path, facts):
    features = np.eye(2, 3, dtype=np.float32)
    projector.write(tmp_path, facts, np.arange(2), np.zeros(2, int), np.ones(2), None, features)
    lines = (tmp_path / "images.tsv").read_text().splitlines()
    assert lines[1].startswith("0\t\t1\t") and len(lines) == 3


def test_there_are_at_most_fifty_axes():
    features = np.random.default_rng(0).normal(size=[200, 300]).astype(np.float32)
    assert projector.principal(features).shape == (200, 50)
    assert projector.principal(features[:1]).shape == (1, 1)

"""The photos of the browser are those of the clusters, and their neighbours the nearest ones."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image
from sklearn.neighbors import NearestNeighbors

from ccssl_tf.clustering import cluster_browser
from ccssl_tf.data import image_list
from ccssl_tf.data.image_facts import read_image_facts
from ccssl_tf.data.manifest import Manifest


def test_neighbours_are_those_of_another_program():
    features = np.random.default_rng(0).normal(100, 1, [200, 30]).astype(np.float32)
    found, apart = cluster_browser.nearest_neighbours(features, 5)
    expected = NearestNeighbors(n_neighbors=5).fit(features).kneighbors()
    np.testing.assert_array_equal(found, expected[1])
    np.testing.assert_allclose(apart, expected[0], rtol=1e-4)


def test_one_photo_has_no_neighbour():
    found, apart = cluster_browser.nearest_neighbours(np.ones([1, 3], np.float32), 0)
    assert found.shape == apart.shape == (1, 0)


@pytest.fixture
def written(tmp_path, image_dir):
    """A writer of the file for the 48 training images in clusters of 30, 17, 0 and 1."""
    fingerprint = Manifest.read(image_dir, "images").fingerprint("train")
    facts = read_image_facts(image_dir, "train", fingerprint)
    random = np.random.default_rng(0)
    index, features = random.permutation(48), random.normal(size=[48, 4]).astype(np.float32)
    labels = np.repeat([0, 1, 3], [30, 17, 1])
    distances = random.permutation(48) / 7

    def rows_at(positions):
        assert np.all(np.diff(positions) > 0)
        return features[positions]

    def write(class_names=("a", "b", "c")):
        cluster_browser.write(
            tmp_path, "train", facts, index, labels, distances, 4, rows_at, class_names
        )
        content = json.loads((tmp_path / cluster_browser.NAME).read_text())
        return content, facts, index, labels, distances, features

    return write


def test_all_photos_are_there_in_order_of_their_distance(written):
    content, facts, index, labels, distances, features = written()
    assert content["order"] == [0, 1, 3] and content["num_images"] == 48
    assert [cluster["shown"] for cluster in content["clusters"]] == [30, 17, 0, 1]
    rows = [
        row
        for one in (0, 1, 3)
        for row in sorted(np.flatnonzero(labels == one), key=distances.__getitem__)
    ]
    names = [image_list.text_of(facts.filenames[index[row]]) for row in rows]
    assert content["names"] == names
    assert content["labels"] == [int(index[row]) % 3 for row in rows]
    np.testing.assert_allclose(content["distances"], distances[rows], rtol=1e-3)
    apart = np.linalg.norm(features[rows][:, None] - features[rows], axis=-1)
    np.fill_diagonal(apart, np.inf)
    assert content["neighbours"] == np.argsort(apart, 1)[:, :8].tolist()
    classes = np.bincount(index[labels == 0] % 3)
    assert [count for _, count in content["clusters"][0]["classes"]] == sorted(classes)[::-1]
    assert content["misfits"]["far"] == np.argsort(-distances[rows])[:33].tolist()


def test_a_sheet_holds_the_photos_of_its_cluster(written):
    content, facts, index, labels, distances, _ = written()
    sheet = Image.open(io.BytesIO(base64.b64decode(content["sheets"][0])))
    side = cluster_browser.SIDE
    assert sheet.size == (16 * side, 2 * side)
    first = int(index[min(np.flatnonzero(labels == 0), key=distances.__getitem__)])
    photo = Image.open(io.BytesIO(facts.encoded(first))).convert("RGB")
    photo.thumbnail((side, side))
    left, top = (side - photo.width) // 2, (side - photo.height) // 2
    shown = sheet.convert("RGB").crop((left, top, left + photo.width, top + photo.height))
    difference = np.asarray(shown).astype(int) - np.asarray(photo)
    assert np.abs(difference).mean() < 12


def test_misfits_are_of_another_class_than_most_of_their_cluster(tmp_path, image_dir):
    fingerprint = Manifest.read(image_dir, "images").fingerprint("train")
    facts = read_image_facts(image_dir, "train", fingerprint)
    # Classes are index mod 3: cluster 0 has 16 images of class 0 and two others.
    index = np.array([*range(0, 48, 3), 1, 2])
    distances = np.linspace(1, 2, 18)
    labels = np.zeros(18, int)
    rows_at = np.eye(18, dtype=np.float32).__getitem__
    arguments = (tmp_path, "train", facts, index, labels, distances, 1, rows_at)
    cluster_browser.write(*arguments, ["a", "b", "c"])
    content = json.loads((tmp_path / cluster_browser.NAME).read_text())
    assert content["misfits"]["class"] == [16, 17]
    cluster_browser.write(*arguments, None)
    content = json.loads((tmp_path / cluster_browser.NAME).read_text())
    assert content["misfits"]["class"] == [] and content["classes"] == []
    assert set(content["labels"]) == {-1} and content["clusters"][0]["classes"] == []


def test_of_too_many_images_the_ends_of_the_largest_clusters_are_shown(monkeypatch, written):
    monkeypatch.setattr(cluster_browser, "MAX_PHOTOS", 40)
    content, _, _, _, distances, _ = written()
    assert [cluster["shown"] for cluster in content["clusters"]] == [22, 17, 0, 1]
    ends = np.sort(distances[:30])[[*range(11), *range(-11, 0)]]
    np.testing.assert_allclose(content["distances"][:22], ends, rtol=1e-3)

"""Clusters of a finished run over new rows, as the fit itself assigns them."""

import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.clustering import KMeans
from ccssl_tf.clustering.fitted import FittedClusters
from ccssl_tf.clustering.rows.sources import open_source
from ccssl_tf.runs.digests import write_digests
from ccssl_tf.runs.errors import CorruptArtifactError, InputError

ROWS = np.random.default_rng(0).normal(size=[300, 12]).astype(np.float32) + 5


@pytest.mark.parametrize("options", [{}, dict(pca_dim=4, whiten=True, l2_normalize=True)])
def test_new_rows_as_the_fit_assigns_them(tmp_path, options):
    kmeans = KMeans(7, seed=1, **options).fit(ROWS[:200], on_pass=lambda values: None)
    np.save(tmp_path / "centroids.npy", kmeans.centroids)
    if kmeans.preprocessing:
        kmeans.preprocessing.save(tmp_path / "preprocessing.npz")
    (tmp_path / "DONE").write_text("{}")
    source = open_source(ROWS[200:], 1 << 30)
    found = FittedClusters(tmp_path).assign(source, tf.distribute.get_strategy())
    labels, distances = kmeans.assign(ROWS[200:])
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-5)
    margins = kmeans.margins(ROWS[200:], labels, distances)
    np.testing.assert_allclose(found.margins, margins, atol=1e-5)


def test_one_cluster_has_no_margin(tmp_path):
    np.save(tmp_path / "centroids.npy", ROWS[:1])
    (tmp_path / "DONE").write_text("{}")
    source = open_source(ROWS[:3], 1 << 30)
    found = FittedClusters(tmp_path).assign(source, tf.distribute.get_strategy())
    assert found.labels.tolist() == [0, 0, 0] and np.isnan(found.margins).all()


def test_a_flipped_bit_of_the_centroids_is_refused(tmp_path):
    path = tmp_path / "centroids.npy"
    np.save(path, ROWS[:3])
    write_digests(tmp_path)
    (tmp_path / "DONE").write_text("{}")
    FittedClusters(tmp_path)
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptArtifactError, match="centroids.npy: its content is not what was"):
        FittedClusters(tmp_path)


def test_what_is_none(tmp_path):
    with pytest.raises(InputError, match="no finished run of ccssl_tf.cluster there"):
        FittedClusters(tmp_path)
    (tmp_path / "DONE").write_text("{}")
    for content in (b"noise", None):
        path = tmp_path / "centroids.npy"
        path.write_bytes(content) if content else np.save(path, np.arange(3))
        with pytest.raises(CorruptArtifactError, match="centroids.npy: .*cluster again"):
            FittedClusters(tmp_path)
    np.save(tmp_path / "centroids.npy", ROWS[:2, :5])
    with pytest.raises(InputError, match="features of dimension 12, but the centroids have 5"):
        source = open_source(ROWS, 1 << 30)
        FittedClusters(tmp_path).assign(source, tf.distribute.get_strategy())

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from clustering.rows.test_sources import write_features
from clustering.test_kmeans import blobs
from sklearn.decomposition import PCA

from ccssl_tf.clustering import KMeans
from ccssl_tf.clustering.rows import preprocessing_fit, sources
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader
from ccssl_tf.clustering.rows.preprocessing import Options, Preprocessing
from ccssl_tf.runs.errors import CorruptArtifactError, InputError


def mixed(count, dim, seed=0):
    """Rows of unequal variances along mixed axes, far from 0."""
    generator = np.random.default_rng(seed)
    return (
        generator.normal(size=[count, dim])
        * 0.7 ** np.arange(dim)
        @ generator.normal(size=[dim, dim])
        + 50
    ).astype(np.float32)


def fitted(rows, **options):
    return preprocessing_fit.fit(sources.open_source(rows, 0), Options(**options))


def scikit(rows, components, whiten):
    theirs = PCA(components, whiten=whiten, svd_solver="full").fit(rows.astype(np.float64))
    signs = np.sign(
        theirs.components_[np.arange(components), np.abs(theirs.components_).argmax(axis=1)]
    )
    return theirs, theirs.transform(rows.astype(np.float64)) * signs


def test_l2_normalisation_and_its_order():
    rows = mixed(300, 6)
    rows[7] = 0
    only = fitted(rows, l2_normalize=True)
    expected = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
    np.testing.assert_allclose(only.transform(rows), expected, rtol=1e-6)
    whole = fitted(rows, pca_dim=3, whiten=True, l2_normalize=True)
    _, expected = scikit(rows, 3, True)
    np.testing.assert_allclose(
        whole.transform(rows), expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-4
    )


@pytest.mark.parametrize("kind", ["shards", "float16 shards", "tf.data"])
def test_a_stream_gives_what_the_array_gives(tmp_path, kind):
    rows = mixed(5000, 8)
    if kind == "float16 shards":
        rows = rows.astype(np.float16)
    if kind == "tf.data":
        source = sources.open_source(tf.data.Dataset.from_tensor_slices(rows).batch(333), 0)
    else:
        source = sources.DirectorySource(
            write_features(tmp_path / "features", rows, [2000, 1, 2999], rows.dtype.name)
        )
    options = Options(pca_dim=3, whiten=True, l2_normalize=True)
    ours, whole = (
        preprocessing_fit.fit(source, options),
        fitted(rows, **dataclasses.asdict(options)),
    )
    np.testing.assert_allclose(ours.projection, whole.projection, rtol=1e-5, atol=1e-7)
    expected = whole.transform(rows)
    transformed = ours.applied_to(source)
    assert (transformed.dim, transformed.num_bytes, transformed.bytes_per_pass) == (
        3,
        5000 * 12,
        source.num_bytes,
    )
    for size in (7, 1000, 6000):
        chunks = list(transformed.chunks(size))
        assert all(len(chunk) == size for chunk in chunks[:-1])
        np.testing.assert_allclose(np.concatenate(chunks), expected, atol=1e-5)
    positions = np.array([0, 3, 1999, 2000, 2001, 4999])
    np.testing.assert_allclose(
        ChunkReader(transformed, 64, 0).take(positions), expected[positions], atol=1e-5
    )
    windows = transformed.shuffled(np.random.default_rng(0), 1500, 600, [])
    positions, rows = map(np.concatenate, zip(*windows.as_numpy_iterator(), strict=True))
    assert len(np.unique(positions)) == len(positions) == 4400
    np.testing.assert_allclose(rows, expected[positions], atol=1e-5)
    assert ours.fingerprint() != dataclasses.replace(ours, l2_normalize=False).fingerprint()


@pytest.mark.parametrize("algorithm", ["lloyd", "lloyd_plain", "minibatch"])
@pytest.mark.parametrize("memory_gb", [1.0, 1e-6])
def test_clustering_of_transformed_rows(tmp_path, algorithm, memory_gb):
    rows = blobs(3000, 10, 6, seed=1, spread=0.2)
    directory = write_features(tmp_path / "features", rows, [1000, 2000])
    options = dict(pca_dim=4, whiten=True, l2_normalize=True)
    passes = []
    kmeans = KMeans(6, algorithm=algorithm, memory_gb=memory_gb, **options).fit(
        directory, on_pass=passes.append
    )
    transformed = fitted(rows, **options).transform(rows)
    plain = KMeans(6, algorithm=algorithm).fit(transformed)
    np.testing.assert_allclose(kmeans.inertia, plain.inertia, rtol=1e-3)
    assert kmeans.centroids.shape == (6, 4)
    # Another data set goes through what was fitted on the first.
    other = blobs(9000, 10, 6, seed=2, spread=0.5)
    labels, distances = kmeans.assign(other)
    exact = np.linalg.norm(
        kmeans.preprocessing.transform(other)[:, None] - kmeans.centroids, axis=-1
    )
    np.testing.assert_allclose(distances, exact.min(axis=1), atol=1e-4)
    np.testing.assert_allclose(exact[np.arange(9000), labels], exact.min(axis=1), atol=1e-4)
    kmeans.preprocessing.save(tmp_path / "preprocessing.npz")
    np.testing.assert_array_equal(
        Preprocessing.load(tmp_path / "preprocessing.npz").transform(other),
        kmeans.preprocessing.transform(other),
    )


def test_an_interrupted_fit_ends_with_the_same_bits(tmp_path):
    rows = mixed(2000, 9)
    settings = dict(pca_dim=5, whiten=True, max_iterations=6)
    whole = KMeans(30, **settings).fit(rows)
    asked = []

    def should_stop():
        asked.append(1)
        return len(asked) > 12

    path = tmp_path / "checkpoint.npz"
    with pytest.raises(Exception, match="interrupted"):
        KMeans(30, **settings).fit(rows, checkpoint_path=path, should_stop=should_stop)
    resumed = KMeans(30, **settings).fit(rows, checkpoint_path=path)
    np.testing.assert_array_equal(resumed.centroids, whole.centroids)
    with pytest.raises(InputError, match="other features"):
        KMeans(30, **dict(settings, whiten=False)).fit(rows, checkpoint_path=path)


def test_refusals(tmp_path):
    rows = mixed(10, 4)
    for components in (5, -1):
        with pytest.raises(InputError, match=f"pca_dim={components}"):
            KMeans(2, pca_dim=components).fit(rows)
    with pytest.raises(InputError, match="fitted on 4"):
        fitted(rows, pca_dim=3).applied_to(sources.ArraySource(mixed(10, 5)))
    rows[6, 1] = np.nan
    with pytest.raises(InputError, match="row 6 "):
        KMeans(2, pca_dim=3).fit(rows)
    with pytest.raises(CorruptArtifactError, match="00001-of-00002.tfrecord: row 2 "):
        KMeans(2, whiten=True).fit(write_features(tmp_path / "features", rows, [4, 6]))
    with pytest.raises(InputError, match="no preprocessing"):
        Preprocessing.load(tmp_path / "none.npz")

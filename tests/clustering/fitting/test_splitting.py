"""Splits of large clusters against scikit-learn on skewed data, streamed, and stopped anywhere."""

import numpy as np
import pytest
from clustering.rows.test_sources import write_features
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.metrics.pairwise import euclidean_distances

from ccssl_tf.clustering import KMeans
from ccssl_tf.runs.errors import InputError, Interrupted


def skewed(seed=0):
    """1,000 rows, 600 of them in one corner, where four groups of 100 to 200 lie in two pairs, each
    long rather than wide; and centroids, one to each corner.
    """
    random = np.random.default_rng(seed)
    groups = [
        ((0, 0), 200), ((40, 0), 160), ((0, 150), 140), ((40, 160), 100),
        ((400, 0), 180), ((0, 400), 120), ((400, 400), 100),
    ]  # fmt: skip
    rows = [
        np.array(place) + 0.5 * random.normal(size=[count, 2]) + [[0, -3], [0, 3]] * (count // 2)
        for place, count in groups
    ]
    rows = random.permutation(np.concatenate(rows)).astype(np.float32)
    return rows, np.float32([[0, 0], [400, 0], [0, 400], [400, 400]])


def reference(rows, centroids, share):
    """The rule in NumPy, halves by scikit-learn."""
    labels = euclidean_distances(rows, centroids).argmin(1)
    while True:
        while np.bincount(labels).max() > share * len(rows):
            largest = np.bincount(labels).argmax()
            members = np.flatnonzero(labels == largest)
            halves = SklearnKMeans(2, n_init=5, random_state=0).fit(rows[members])
            labels[members[halves.labels_ == 1]] = len(centroids)
            centroids = np.concatenate([centroids, halves.cluster_centers_[1:]])
            centroids[largest] = halves.cluster_centers_[0]
        labels = euclidean_distances(rows, centroids).argmin(1)
        if np.bincount(labels).max() <= share * len(rows):
            return centroids, labels


def assert_same_clusters(kmeans, centroids, labels):
    """Halves may have each other's number."""
    order, theirs = (np.lexsort(np.round(values).T) for values in (kmeans.centroids, centroids))
    np.testing.assert_allclose(kmeans.centroids[order], centroids[theirs], rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(np.argsort(order)[kmeans.labels_], np.argsort(theirs)[labels])


def fitted(rows, start, share, **options):
    kmeans = KMeans(len(start), initialization=start, max_cluster_share=share, seed=3)
    return kmeans.fit(rows, on_pass=lambda values: None, **options)


@pytest.mark.parametrize("share, clusters", [(0.6, 4), (0.3, 6), (0.2, 7), (0.16, 9)])
def test_skewed_clusters_are_divided_as_the_reference_divides_them(share, clusters, told):
    rows, start = skewed()
    kmeans = fitted(rows, start, share)
    plain = fitted(rows, start, 1.0)
    assert kmeans.cluster_sizes.max() <= share * 1000
    assert len(kmeans.centroids) == clusters
    wanted, labels = reference(rows, plain.centroids, share)
    assert_same_clusters(kmeans, wanted, labels)
    np.testing.assert_array_equal(kmeans.predict(rows), kmeans.labels_)
    squares = euclidean_distances(rows, wanted).min(1) ** 2
    np.testing.assert_allclose(kmeans.inertia, squares.sum(), rtol=1e-5)
    lines = told()
    assert lines.count("rows are 60.000% of all, more than") == (clusters > 4)
    assert (f"split 4 clusters into {clusters}: none holds more" in lines) == (clusters > 4)


@pytest.mark.parametrize("algorithm", ["lloyd", "minibatch"])
def test_no_cluster_is_over_the_share_and_labels_are_the_nearest(algorithm):
    """On rows without groups, where halves take rows of their neighbours."""
    rows = np.random.default_rng(1).gamma(0.4, size=[3000, 8]).astype(np.float32)
    kmeans = KMeans(12, algorithm=algorithm, max_cluster_share=0.04, seed=1)
    kmeans.fit(rows, on_pass=lambda values: None)
    assert 25 <= len(kmeans.centroids) < 100
    assert np.bincount(kmeans.labels_).max() <= 120
    distances = euclidean_distances(rows.astype(np.float64), kmeans.centroids.astype(np.float64))
    np.testing.assert_array_equal(kmeans.labels_, distances.argmin(1))
    np.testing.assert_array_equal(kmeans.predict(rows), kmeans.labels_)


def test_streamed_and_with_weights(tmp_path):
    rows, start = skewed()
    directory = write_features(tmp_path / "features", rows, [300, 1, 399, 300])
    wanted = fitted(rows, start, 0.16)
    for memory_gb in (4.0, 0.0):
        kmeans = KMeans(4, initialization=start, max_cluster_share=0.16, seed=3)
        kmeans.set_params(memory_gb=memory_gb).fit(directory, on_pass=lambda values: None)
        assert_same_clusters(kmeans, wanted.centroids, wanted.labels_)
    same = fitted(rows, start, 0.16, sample_weight=np.full(1000, 2.0))
    assert_same_clusters(same, wanted.centroids, wanted.labels_)
    np.testing.assert_allclose(same.inertia, 2 * wanted.inertia)


def test_stopped_after_any_number_of_chunks_it_ends_with_the_same_bits(tmp_path, told):
    rows = np.random.default_rng(1).gamma(0.4, size=[400, 3]).astype(np.float32)
    settings = dict(max_cluster_share=0.2, seed=1, memory_gb=0.0)
    wanted = KMeans(5, **settings).fit(rows, on_pass=lambda values: None)
    path, asked, stops, limit = tmp_path / "checkpoint.npz", 0, 0, 10
    assert len(wanted.centroids) > 6

    def should_stop():
        nonlocal asked
        asked += 1
        return asked == limit

    while True:
        asked = 0
        try:
            kmeans = KMeans(5, **settings).fit(
                rows,
                checkpoint_path=path,
                on_pass=lambda values: None,
                should_stop=should_stop,
            )
        except Interrupted:
            stops, limit = stops + 1, limit + 8
        else:
            break
    assert stops > 3
    for name in ("centroids", "labels_", "inertia"):
        np.testing.assert_array_equal(getattr(kmeans, name), getattr(wanted, name))
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"checkpoint.npz", "checkpoint.npz.split"}
    # Splits of another fit are not gone on with.
    path.unlink()
    other = KMeans(5, **settings, max_iterations=1)
    other.fit(rows, checkpoint_path=path, on_pass=lambda values: None)
    alone = KMeans(5, **settings, max_iterations=1).fit(rows, on_pass=lambda values: None)
    np.testing.assert_array_equal(other.centroids, alone.centroids)


def test_rows_that_cannot_be_divided():
    rows = np.random.default_rng(0).normal(size=[100, 3]).astype(np.float32)
    rows[:30] = rows[0]
    kmeans = KMeans(5, max_cluster_share=0.2)
    with pytest.raises(InputError, match=r"max_cluster_share=0.2: 30 rows, 30.000% of all, are eq"):
        kmeans.fit(rows, on_pass=lambda values: None)
    kmeans.set_params(max_cluster_share=0.3).fit(rows, on_pass=lambda values: None)
    assert kmeans.cluster_sizes.max() == 30


@pytest.mark.parametrize("share", [0.0, 1.5, -1.0, 0.009])
def test_shares_that_cannot_be(share):
    rows = np.random.default_rng(0).normal(size=[100, 3]).astype(np.float32)
    with pytest.raises(InputError, match=f"max_cluster_share={share:g}: "):
        KMeans(5, max_cluster_share=share).fit(rows, on_pass=lambda values: None)

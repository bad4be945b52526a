import copy
import pickle

import numpy as np
import pytest
import tensorflow as tf
from sklearn.base import clone
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.exceptions import NotFittedError
from sklearn.metrics.pairwise import euclidean_distances

from ccssl_tf.clustering import KMeans
from ccssl_tf.runs.errors import InputError


def blobs(count, dim, clusters, seed, spread=0.3):
    generator = np.random.default_rng(seed)
    centers = generator.normal(size=(clusters, dim))
    return (
        centers[generator.integers(clusters, size=count)]
        + spread * generator.normal(size=(count, dim))
    ).astype(np.float32)


@pytest.mark.parametrize("seed", range(8))
def test_equals_scikit_learn_from_the_same_start(seed):
    generator = np.random.default_rng(seed)
    count, dim, clusters = (
        int(generator.integers(20, 600)),
        int(generator.integers(1, 40)),
        int(generator.integers(1, 15)),
    )
    rows = blobs(count, dim, clusters, seed)
    start = rows[generator.choice(count, clusters, replace=False)]
    ours = KMeans(clusters, initialization=start).fit(rows)
    theirs = SklearnKMeans(clusters, init=start, n_init=1, tol=0, algorithm="lloyd").fit(
        rows.astype(np.float64)
    )
    np.testing.assert_allclose(ours.inertia, theirs.inertia_, rtol=1e-4)
    np.testing.assert_allclose(ours.centroids, theirs.cluster_centers_, atol=1e-3)
    assert np.mean(ours.predict(rows) == theirs.labels_) > 0.99
    assert abs(ours.iterations + 1 - theirs.n_iter_) <= 2
    assert ours.cluster_sizes.sum() == count


def test_stops_at_max_iterations_and_reports_the_inertia_of_its_centroids():
    rows = blobs(500, 5, 20, seed=0, spread=1.0)
    start = rows[:20]
    ours = KMeans(20, initialization=start, max_iterations=3).fit(rows)
    theirs = SklearnKMeans(20, init=start, n_init=1, max_iter=3, tol=0, algorithm="lloyd").fit(rows)
    assert ours.iterations == theirs.n_iter_ == 3
    np.testing.assert_allclose(ours.inertia, theirs.inertia_, rtol=1e-5)
    np.testing.assert_allclose(
        ours.inertia, np.sum(ours.distances(rows).astype(np.float64) ** 2), rtol=1e-5
    )
    early = KMeans(20, initialization=start, tolerance=0.05).fit(rows)
    assert early.iterations < KMeans(20, initialization=start).fit(rows).iterations


def test_distances_are_euclidean_even_far_from_the_origin():
    rows = blobs(300, 8, 5, seed=1) + 1000.0
    kmeans = KMeans(5).fit(rows)
    exact = np.linalg.norm(rows[:, None].astype(np.float64) - kmeans.centroids[None], axis=-1)
    np.testing.assert_array_equal(kmeans.predict(rows), exact.argmin(axis=1))
    np.testing.assert_allclose(kmeans.distances(rows), exact.min(axis=1), rtol=1e-4)
    assert kmeans.predict(rows).dtype == np.int32 and kmeans.centroids.dtype == np.float32


def test_one_seed_one_result_and_another_seed_another():
    rows = blobs(2000, 10, 8, seed=4, spread=2.0)
    first, again, other = (
        KMeans(20, seed=seed, max_iterations=5).fit(rows).centroids for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_fewer_different_rows_than_clusters(told):
    different = np.random.default_rng(6).normal(size=(5, 7)).astype(np.float32)
    rows = np.tile(different, [40, 1])
    for how in ("k-means++", "random"):
        kmeans = KMeans(10, initialization=how).fit(rows)
        assert np.isfinite(kmeans.centroids).all()
        assert kmeans.inertia == 0 and kmeans.empty_clusters == 5 == np.sum(
            kmeans.cluster_sizes == 0
        )
        assert "warning: 5 of 10 clusters are empty" in told()
        assert len(np.unique(kmeans.predict(rows))) == 5


def test_empty_clusters_take_the_furthest_rows():
    rows = np.array([[0.0], [1.0], [2.0], [100.0], [101.0]], np.float32)
    # Nothing is nearest to the third and fourth centroid.
    kmeans = KMeans(4, initialization=[[1.0], [2.0], [-500.0], [-600.0]], max_iterations=20).fit(
        rows
    )
    assert kmeans.empty_clusters == 0
    assert sorted(kmeans.cluster_sizes.tolist()) == [1, 1, 1, 2]
    assert kmeans.inertia == 0.5


@pytest.mark.parametrize("clusters", [1, 12])
def test_one_cluster_and_as_many_as_rows(clusters):
    rows = np.random.default_rng(7).normal(size=(12, 3)).astype(np.float32)
    kmeans = KMeans(clusters).fit(rows)
    if clusters == 1:
        np.testing.assert_allclose(kmeans.centroids[0], rows.mean(axis=0), rtol=1e-5)
    else:
        assert kmeans.inertia == 0 and sorted(kmeans.predict(rows)) == list(range(12))


@pytest.mark.parametrize(
    "settings, rows, message",
    [
        (dict(num_clusters=0), np.ones([3, 2]), "num_clusters=0"),
        (
            dict(num_clusters=4),
            np.ones([3, 2]),
            r"more clusters than there are rows \(n_samples=3\)",
        ),
        (dict(num_clusters=1), np.ones([0, 2]), "0 sample"),
        (dict(num_clusters=1), np.ones([3]), "Expected 2D array"),
        (dict(num_clusters=1, algorithm="fast"), np.ones([3, 2]), "fast"),
        (dict(num_clusters=1, initialization="best"), np.ones([3, 2]), "best"),
        (dict(num_clusters=2, initialization=np.ones([2, 3])), np.ones([3, 2]), r"\[2, 3\]"),
        (dict(num_clusters=2, initialization=np.full([2, 2], np.nan)), np.ones([3, 2]), "NaN"),
        (dict(num_clusters=1, max_iterations=0), np.ones([3, 2]), "max_iterations"),
        (dict(num_clusters=2), np.array([[1.0, 2], [np.inf, 0], [1, 1]]), "row 1 "),
        (
            dict(num_clusters=2, initialization=np.eye(2)),
            np.array([[1.0, 2], [2, 0], [1, np.nan]]),
            "row 2 ",
        ),
    ],
)
def test_refuses(settings, rows, message):
    with pytest.raises(ValueError, match=message):
        KMeans(**settings).fit(rows)


def test_predict_needs_a_fit_and_the_same_dimension():
    with pytest.raises(NotFittedError):
        KMeans(2).predict(np.ones([3, 2]))
    kmeans = KMeans(2).fit(np.eye(4))
    with pytest.raises(ValueError, match="3 features"):
        kmeans.predict(np.eye(3))
    with pytest.raises(InputError, match="dimension 3"):
        kmeans.predict(tf.data.Dataset.from_tensors(np.eye(3)))


@pytest.mark.parametrize("options", [{}, dict(pca_dim=2, whiten=True)], ids=["plain", "PCA"])
@pytest.mark.parametrize(
    "make_copy", [lambda made: pickle.loads(pickle.dumps(made)), copy.deepcopy]
)
def test_a_copy_goes_on_like_the_original(make_copy, options):
    rows = blobs(200, 4, 5, seed=0)
    kmeans = KMeans(5, initialization=rows[:5] if not options else "random", **options)
    unfitted = make_copy(kmeans)
    with pytest.raises(NotFittedError):
        _ = unfitted.centroids
    fitted = make_copy(kmeans.fit(rows))
    assert fitted.inertia == kmeans.inertia and fitted.centroids is not kmeans.centroids
    for ours in (fitted, unfitted.fit(rows)):
        np.testing.assert_array_equal(ours.centroids, kmeans.centroids)
        np.testing.assert_array_equal(ours.distances(rows), kmeans.distances(rows))


@pytest.mark.parametrize("offset", [0, 300, 10_000])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_margins_are_those_of_float64_distances(offset, dtype):
    if dtype == np.float16 and offset == 10_000:
        offset = 200  # Its numbers end at 65,504, and at 10,000 lie 8 apart.
    rows = (
        np.random.default_rng(0).normal(size=[600, 16]) + offset * (-1) ** np.arange(600)[:, None]
    )
    rows = rows.astype(dtype)
    kmeans = KMeans(20, seed=1, max_iterations=3).fit(rows, on_pass=lambda values: None)
    labels, distances = kmeans.assign(rows)
    margins = kmeans.margins(rows, labels, distances)
    differences = rows[:, None].astype(np.float64) - np.asarray(kmeans.centroids, np.float64)
    exact = np.sort(np.sqrt((differences**2).sum(-1)), axis=1)
    np.testing.assert_allclose(
        margins, exact[:, 1] - exact[:, 0], atol=2e-5 * exact[:, 1].max() + 4e-7 * offset
    )
    assert (margins >= 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_nearest_few_centroids(dtype):
    """Of an array, and of float64 far from 0, against scikit-learn's distances."""
    rows = np.random.default_rng(0).normal(size=[400, 12]).astype(dtype)
    rows += 1e6 if dtype == np.float64 else 0
    kmeans = KMeans(6, seed=1, max_iterations=3).fit(rows, on_pass=lambda values: None)
    answer = kmeans.assign(rows)
    numbers, distances = kmeans.nearest(rows, *answer, 4)
    exact = euclidean_distances(rows - rows[0], kmeans.centroids - rows[0])
    np.testing.assert_array_equal(numbers, np.argsort(exact, axis=1)[:, :4])
    np.testing.assert_allclose(distances, np.sort(exact, axis=1)[:, :4], rtol=1e-5)
    np.testing.assert_array_equal(distances[:, 0], answer[1])
    assert (np.diff(distances, axis=1) >= 0).all()
    assert kmeans.nearest(rows, *answer, 9)[0].shape == (400, 6)
    assert kmeans.nearest(rows, *answer, 1)[0].shape == (400, 1)


@pytest.mark.parametrize("offset", [0, 10_000])
def test_some_rows_are_those_that_are_clustered(offset):
    rows = np.random.default_rng(0).normal(size=[300, 6]) + offset
    kmeans = KMeans(5, max_iterations=2).fit(rows, on_pass=lambda values: None)
    wanted = np.array([0, 7, 299])
    np.testing.assert_allclose(kmeans.rows_at(rows, wanted), rows[wanted], atol=2e-3)
    kmeans = KMeans(5, pca_dim=6, max_iterations=2).fit(rows, on_pass=lambda values: None)
    found = kmeans.rows_at(rows, wanted)
    distances = np.linalg.norm(rows[wanted][:, None] - rows[wanted], axis=-1)
    np.testing.assert_allclose(
        np.linalg.norm(found[:, None] - found, axis=-1), distances, rtol=1e-3, atol=1e-3
    )


def test_margins_of_equal_and_of_single_centroids():
    rows = np.array([[0.0], [1.0], [4.0]], np.float32)
    start = np.array([[0.0], [0.0], [4.0]], np.float32)
    quiet = dict(max_iterations=1, algorithm="lloyd_plain")
    kmeans = KMeans(1, initialization=rows[:1], **quiet).fit(rows, on_pass=lambda values: None)
    assert np.isnan(kmeans.margins(rows, *kmeans.assign(rows))).all()
    kmeans = KMeans(3, initialization=start, **quiet).fit(rows, on_pass=lambda values: None)
    kmeans._centroids = start
    assert kmeans.margins(rows, *kmeans.assign(rows)).tolist() == [0, 0, 4]


def test_a_deep_copy_keeps_the_strategy_and_a_pickle_takes_the_current_one():
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    kmeans = KMeans(5, strategy=strategy)
    assert copy.deepcopy(kmeans).strategy is strategy
    assert clone(kmeans).strategy is strategy
    assert pickle.loads(pickle.dumps(kmeans)).strategy is None

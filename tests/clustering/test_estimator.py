"""scikit-learn's conventions; what is computed is tested in `test_kmeans` and beside the fits."""

import numpy as np
import pytest
import tensorflow as tf
from clustering.test_kmeans import blobs
from sklearn.base import clone
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from ccssl_tf.clustering import KMeans
from ccssl_tf.runs.errors import InputError

EXCLUDED = {
    "check_sample_weight_equivalence_on_dense_data": "the start is drawn among rows by position, "
    "so that other rows are drawn where copies stand for weights"
}


@parametrize_with_checks([KMeans()], expected_failed_checks=lambda _: EXCLUDED, xfail_strict=False)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("algorithm", ["lloyd", "lloyd_plain", "minibatch"])
@pytest.mark.parametrize("kind", ["array", "tf.data"])
def test_weights_are_as_good_as_copies(algorithm, kind):
    rows = blobs(300, 5, 6, seed=1, spread=1.5)
    weights = np.random.default_rng(0).integers(0, 4, 300)
    copies, start = np.repeat(rows, weights, axis=0), rows[:6]
    # A batch of all rows makes the mini-batch's steps those of Lloyd.
    options = dict(algorithm=algorithm, initialization=start, minibatch_size=9999, restarts=1)
    options |= dict(reassignment_ratio=0.0, max_iterations=3)
    wanted = KMeans(6, **options).fit(copies)
    features = rows if kind == "array" else tf.data.Dataset.from_tensors(rows)
    weighted = KMeans(6, **options).fit(features, sample_weight=weights)
    np.testing.assert_allclose(weighted.centroids, wanted.centroids, rtol=1e-6, atol=1e-6)
    assert weighted.inertia == pytest.approx(wanted.inertia, rel=1e-6)
    assert weighted.score(rows, sample_weight=weights) == pytest.approx(-wanted.inertia, rel=1e-6)


@pytest.mark.parametrize("how", ["k-means++", "k-means||", "random"])
def test_rows_of_no_weight_are_no_start(how):
    rows = np.append(blobs(100, 3, 4, seed=0), np.full([100, 3], 500, np.float32), axis=0)
    kmeans = KMeans(4, initialization=how).fit(rows, sample_weight=np.repeat([1.0, 0.0], 100))
    assert np.abs(kmeans.centroids).max() < 100


@pytest.mark.parametrize("weights", [[1, -1, 1], [0, 0, 0], [1, 1], [1, np.nan, 1]])
def test_weights_that_cannot_be_are_refused(weights):
    with pytest.raises(InputError, match="sample_weight"):
        KMeans(1).fit(np.eye(3), sample_weight=weights)


def test_transform_is_that_of_scikit_learn():
    rows = blobs(200, 4, 5, seed=0) + np.float32(1e3)
    kmeans = KMeans(5).fit(rows)
    theirs = SklearnKMeans(5, init=kmeans.centroids, n_init=1, max_iter=1).fit(
        kmeans.centroids.astype(np.float64)
    )
    distances = kmeans.transform(rows)
    np.testing.assert_allclose(distances, theirs.transform(rows.astype(np.float64)), rtol=1e-4)
    np.testing.assert_allclose(distances.min(axis=1), kmeans.distances(rows), rtol=1e-4)
    assert distances.dtype == np.float32


def test_in_a_pipeline_and_a_search():
    rows = blobs(120, 4, 3, seed=0)
    made = make_pipeline(StandardScaler(), KMeans(3)).fit(rows)
    assert made.transform(rows).shape == (120, 3) and set(made.predict(rows)) == {0, 1, 2}
    search = GridSearchCV(KMeans(), dict(n_clusters=[2, 3, 4]), cv=2).fit(rows)
    assert search.best_params_["n_clusters"] == 4
    with pytest.raises(InputError, match="two names"):
        KMeans(3, n_clusters=4).fit(rows)
    assert clone(KMeans(3, tolerance=0.1)).tolerance == 0.1


def test_data_frames_and_names_of_columns():
    pandas = pytest.importorskip("pandas")
    rows = blobs(60, 2, 3, seed=0)
    frame = pandas.DataFrame(rows, columns=["left", "right"])
    kmeans = KMeans(3).set_output(transform="pandas").fit(frame)
    assert kmeans.feature_names_in_.tolist() == ["left", "right"]
    assert kmeans.transform(frame).columns.tolist() == ["kmeans0", "kmeans1", "kmeans2"]
    np.testing.assert_array_equal(kmeans.predict(frame), KMeans(3).fit(rows).predict(rows))
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.Table.from_pandas(frame)
    np.testing.assert_array_equal(KMeans(3).fit(table).labels_, kmeans.labels_)


def test_names_of_results():
    rows = blobs(90, 4, 3, seed=0)
    kmeans = KMeans(3).fit(rows)
    np.testing.assert_array_equal(kmeans.labels_, kmeans.predict(rows))
    assert kmeans.labels_ is kmeans.assignments and kmeans.cluster_centers_ is kmeans.centroids
    assert (kmeans.n_features_in_, kmeans.n_iter_) == (4, kmeans.iterations)
    assert kmeans.inertia_ == kmeans.inertia == pytest.approx(-kmeans.score(rows))
    np.testing.assert_array_equal(KMeans(3).fit_predict(rows), kmeans.labels_)


@pytest.mark.parametrize("memory_gb, algorithm", [(1.0, "lloyd"), (0.0, "minibatch")])
def test_the_algorithm_is_chosen_and_named(memory_gb, algorithm, told):
    rows = tf.data.Dataset.from_tensors(blobs(90, 4, 3, seed=0))
    kmeans = KMeans(3, algorithm="auto", memory_gb=memory_gb).fit(rows)
    assert kmeans.algorithm_ == algorithm
    assert f"algorithm: {algorithm}, since rows of" in told()

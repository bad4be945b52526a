import numpy as np
import pytest
import tensorflow as tf
from clustering.test_kmeans import blobs

from ccssl_tf.clustering.assignment import PassResult
from ccssl_tf.clustering.fitting import lloyd_fit
from ccssl_tf.clustering.fitting.pass_log import PassLog
from ccssl_tf.clustering.rows import sources
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader


def fit(rows, start, **settings):
    options = dict(algorithm="lloyd_plain", max_iterations=50, tolerance=0.0)
    passes = []
    result = lloyd_fit.fit(
        ChunkReader(sources.open_source(rows, 0), 100, 0),
        lambda: start,
        lloyd_fit.Options(**(options | settings), strategy=tf.distribute.get_strategy()),
        log=PassLog(*rows.shape, len(start), 51, passes.append),
        checkpoint_path=None,
        identity="",
        checkpoint_seconds=0.0,
    )
    return result, passes


@pytest.mark.parametrize("algorithm", lloyd_fit.ASSIGNMENTS)
def test_a_fit_ends_where_nothing_changes(algorithm, told):
    rows = blobs(400, 6, 8, seed=0)
    result, passes = fit(rows, rows[:8].copy(), algorithm=algorithm)
    assert "no assignment changed" in told()
    assert passes[-1]["moved"] == 0 and len(passes) == result.iterations + 1
    exact = ((rows[:, None].astype(np.float64) - result.centroids) ** 2).sum(axis=-1)
    labels = exact.argmin(axis=1)
    for cluster in range(8):
        np.testing.assert_allclose(
            result.centroids[cluster], rows[labels == cluster].mean(axis=0), rtol=1e-4, atol=1e-5
        )
    np.testing.assert_allclose(result.inertia, exact.min(axis=1).sum(), rtol=1e-5)
    np.testing.assert_array_equal(result.labels, labels)


@pytest.mark.parametrize(
    "reason, settings",
    [("fell by no more than 0.5", dict(tolerance=0.5)), ("most allowed", dict(max_iterations=1))],
)
def test_says_why_it_stops(reason, settings, told):
    rows = blobs(400, 6, 8, seed=0, spread=1.0)
    fit(rows, rows[:20].copy(), **settings)
    assert reason in told()


def test_empty_clusters_take_the_furthest_rows_of_others():
    rows = np.array([[0.0], [0.5], [9.0], [30.0], [50.0]], np.float32)
    centroids = np.array([[0.0], [10.0], [-99.0], [-98.0], [-97.0]], np.float32)
    labels = np.array([0, 0, 1, 1, 1], np.int32)
    squares = np.square(rows - centroids[labels]).sum(axis=1)
    sums = np.array([[0.5], [89.0], [0], [0], [0]])
    result = PassResult(
        labels, squares, sums, np.bincount(labels, minlength=5), np.arange(5), 25, 0
    )
    reader = ChunkReader(sources.open_source(rows, 0), 2, 0)
    updated, reseeded = lloyd_fit.updated_centroids(reader, centroids, result)
    # The three furthest are rows 2, 3 and 4 in their order; row 4 is the last of its cluster then.
    np.testing.assert_array_equal(updated, [[0.25], [50.0], [9.0], [30.0], [-97.0]])
    assert reseeded == 2 and sums[1, 0] == 89


def test_only_clusters_that_changed_are_updated():
    rows = np.ones([4, 1], np.float32)
    labels = np.array([0, 0, 1, 1], np.int32)
    sums = np.array([[6.0], [8.0]])
    result = PassResult(labels, np.ones(4), sums, np.array([2, 2]), np.array([1]), 8, 0)
    reader = ChunkReader(sources.open_source(rows, 0), 2, 0)
    centroids = np.array([[7.0], [7.0]], np.float32)
    updated, _ = lloyd_fit.updated_centroids(reader, centroids, result)
    np.testing.assert_array_equal(updated, [[7.0], [4.0]])
    assert updated is not centroids

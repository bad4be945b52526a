"""What is often left undefined: every algorithm from every start gives finite centroids, sizes that
add up and the inertia of these.
"""

import numpy as np
import pytest

from ccssl_tf.clustering import KMeans
from ccssl_tf.clustering.kmeans import ALGORITHMS, INITIALIZATIONS

_GENERATOR = np.random.default_rng(0)
_DIFFERENT = _GENERATOR.normal(size=[5, 7]).astype(np.float32)
_SPREAD = _GENERATOR.normal(size=[60, 7]).astype(np.float32)
# Name -> rows, K, clusters that can have rows.
CASES = {
    "duplicates": (np.repeat(_SPREAD[:20], 10, axis=0), 20, 20),
    "fewer different rows than clusters": (np.tile(_DIFFERENT, [40, 1]), 10, 5),
    "one row, many times": (np.tile(_DIFFERENT[:1], [30, 1]), 4, 1),
    "all zero": (np.zeros([30, 7], np.float32), 3, 1),
    "constant features": (
        np.concatenate([_SPREAD, np.full([60, 5], 1e4, np.float32)], axis=1),
        6,
        6,
    ),
    "one feature": (_SPREAD[:, :1], 6, 6),
    "one cluster": (_SPREAD, 1, 1),
    "as many clusters as rows": (_SPREAD, 60, 60),
    "one row": (_SPREAD[:1], 1, 1),
    "one far away": (np.concatenate([_SPREAD, np.full([1, 7], 1e6, np.float32)]), 4, 4),
    "tiny": (_SPREAD * np.float32(1e-15), 6, 6),
    "half precision": (_SPREAD.astype(np.float16), 6, 6),
    "integers": ((_SPREAD * 10).astype(np.int8), 6, 6),
}
STARTS = [*INITIALIZATIONS, "first rows", "the same row", "far away"]


def start_of(name, rows, clusters):
    """A start by name; the last two leave all clusters but one without rows, or all of them far
    from the rows.
    """
    if name == "first rows":
        return rows[:clusters]
    if name == "the same row":
        return np.tile(rows[:1], [clusters, 1])
    if name == "far away":
        return np.float32(1e3) + np.arange(clusters, dtype=np.float32)[:, None] * np.ones(
            rows.shape[1], np.float32
        )
    return name


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("case", CASES)
def test_the_result_is_defined(case, algorithm, start, told):
    rows, clusters, most = CASES[case]
    kmeans = KMeans(
        clusters,
        algorithm=algorithm,
        initialization=start_of(start, rows, clusters),
        minibatch_size=32,
    ).fit(rows)
    shown = told()
    exact = rows.astype(np.float64)
    squares = np.square(exact[:, None] - kmeans.centroids.astype(np.float64)).sum(axis=-1)
    nearest = squares.min(axis=1)
    scale = np.square(exact - exact.mean(axis=0)).sum() + 1e-30
    assert np.isfinite(kmeans.centroids).all() and kmeans.centroids.shape == (
        clusters,
        rows.shape[1],
    )
    np.testing.assert_allclose(kmeans.inertia, nearest.sum(), rtol=1e-4, atol=1e-10 * scale)
    assert kmeans.cluster_sizes.sum() == len(rows) and kmeans.cluster_sizes.min() >= 0
    labels, distances = kmeans.assign(rows)
    assert labels.min() >= 0 and labels.max() < clusters
    own = squares[np.arange(len(rows)), labels]
    # A centroid far away costs the distances to it precision; nobody's own distance.
    np.testing.assert_allclose(own, nearest, rtol=1e-3, atol=1e-6 * scale)
    np.testing.assert_allclose(distances, np.sqrt(own), rtol=1e-4, atol=1e-6 * np.sqrt(scale))
    assert kmeans.empty_clusters == np.sum(kmeans.cluster_sizes == 0) >= clusters - most
    assert ("clusters are empty" in shown) == (kmeans.empty_clusters > 0)
    if algorithm != "minibatch":
        # Re-seeding leaves a cluster empty only where there are too few different rows.
        assert kmeans.empty_clusters == clusters - min(len(np.unique(rows, axis=0)), clusters)
    if len(np.unique(rows, axis=0)) <= clusters and algorithm != "minibatch":
        assert kmeans.inertia <= 1e-10 * scale


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("case", CASES)
def test_the_result_repeats(case, algorithm):
    rows, clusters, _ = CASES[case]
    first, again = (
        KMeans(clusters, algorithm=algorithm, max_iterations=5).fit(rows) for _ in range(2)
    )
    np.testing.assert_array_equal(first.centroids, again.centroids)
    assert first.inertia == again.inertia

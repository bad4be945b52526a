import numpy as np
import pytest
from clustering.test_kmeans import blobs

from ccssl_tf.clustering import KMeans
from ccssl_tf.clustering.host import screening
from ccssl_tf.clustering.host.accelerated import AcceleratedAssignment
from ccssl_tf.clustering.rows import sources
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader
from ccssl_tf.runs.errors import InputError


def exact_labels(rows, centroids):
    """In float64; ties: the lower number."""
    return np.stack(
        [((row.astype(np.float64) - centroids) ** 2).sum(axis=1) for row in rows]
    ).argmin(axis=1)


def fast(rows, num_clusters, memory_gb=1.0, labels=None, sums=None):
    source = sources.open_source(rows, int(memory_gb * 2**30))
    reader = ChunkReader(source, 512, int(memory_gb * 2**30))
    labels = np.full(len(rows), -1, np.int32) if labels is None else labels
    return AcceleratedAssignment(
        reader, labels, np.zeros([num_clusters, rows.shape[1]]) if sums is None else sums
    )


def means(found, centroids):
    centroids = centroids.copy()
    there = found.counts > 0
    centroids[there] = found.sums[there] / found.counts[there, None]
    return centroids


def data(kind, count, dim, seed):
    generator = np.random.default_rng(seed)
    if kind == "blobs":
        return blobs(count, dim, 20, seed, spread=0.8)
    if kind == "noise":
        return generator.normal(size=(count, dim)).astype(np.float32)
    if kind == "far from the origin":
        return blobs(count, dim, 10, seed) + np.float32(1000)
    if kind == "grid":  # Full of exact ties.
        return generator.integers(0, 3, size=(count, dim)).astype(np.float32)
    if kind == "sparse float16":
        return np.maximum(generator.normal(size=(count, dim)) - 0.5, 0).astype(np.float16)
    if kind == "copies":
        return np.tile(generator.normal(size=(max(count // 50, 2), dim)), [50, 1]).astype(
            np.float32
        )
    if kind == "outliers":
        rows = generator.normal(size=(count, dim)).astype(np.float32)
        rows[:3] *= 1e6
        return rows
    if kind == "near copies":  # Closer than float32 products can tell.
        return (1 + 1e-6 * generator.integers(0, 5, size=(count, dim))).astype(np.float32)
    return np.full([count, dim], 3.25, np.float32)


KINDS = [
    "blobs",
    "noise",
    "far from the origin",
    "grid",
    "sparse float16",
    "copies",
    "outliers",
    "near copies",
    "constant",
]


@pytest.mark.parametrize("screened", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_every_label_of_every_pass_is_the_exact_one(kind, seed, screened, monkeypatch):
    if screened:
        monkeypatch.setattr(screening, "num_directions", lambda dim: max(dim // 4, 1))
    generator = np.random.default_rng(seed)
    rows = data(kind, int(generator.integers(100, 1500)), int(generator.integers(1, 60)), seed)
    clusters = int(generator.integers(1, min(60, len(rows) // 2)))
    centroids = rows[generator.choice(len(rows), clusters, replace=False)].astype(np.float32)
    memory_gb = (1.0, 1e-5)[seed % 2]
    step, labels = fast(rows, clusters, memory_gb), np.full(len(rows), -1)
    for iteration in range(12):
        found = step.step(centroids)
        np.testing.assert_array_equal(found.labels, exact_labels(rows, centroids))
        own = ((rows.astype(np.float64) - centroids[found.labels]) ** 2).sum(axis=1)
        np.testing.assert_allclose(found.squares, own, rtol=1e-4)
        np.testing.assert_array_equal(found.counts, np.bincount(found.labels, minlength=clusters))
        wanted = np.zeros([clusters, rows.shape[1]])
        np.add.at(wanted, found.labels, rows.astype(np.float64))
        np.testing.assert_allclose(
            found.sums, wanted, rtol=1e-9, atol=1e-9 * np.abs(rows).astype(np.float64).sum()
        )
        changed = np.union1d(
            found.labels[found.labels != labels], labels[(found.labels != labels) & (labels >= 0)]
        )
        np.testing.assert_array_equal(found.changed, changed)
        labels = found.labels
        centroids = means(found, centroids)
        if iteration == 6:  # A jump, as re-seeding makes it.
            centroids[generator.integers(clusters)] = rows[generator.integers(len(rows))]


def test_most_distances_are_skipped_and_a_rest_costs_nothing():
    rows = blobs(6000, 30, 60, seed=0, spread=0.5)
    centroids = rows[:60]
    step, computed = fast(rows, 60), []
    for _ in range(15):
        found = step.step(centroids)
        computed.append(found.distances / (6000 * 60))
        centroids = means(found, centroids)
    assert sum(computed) < 7 and computed[-1] < 0.1
    assert step.step(step._centroids.values.copy()).distances <= 6000 * 60 * computed[-1]


@pytest.mark.parametrize("seed", range(6))
def test_equals_the_plain_algorithm(seed):
    generator = np.random.default_rng(seed)
    count, dim, clusters = (
        int(generator.integers(200, 3000)),
        int(generator.integers(2, 80)),
        int(generator.integers(2, 70)),
    )
    rows = blobs(count, dim, clusters, seed, spread=1.0)
    start = rows[generator.choice(count, clusters, replace=False)]
    if seed % 3 == 0:
        start[: clusters // 3] += (
            50 + np.arange(clusters // 3, dtype=np.float32)[:, None]
        )  # Empty clusters, to be re-seeded.
    ours, plain = (
        KMeans(clusters, initialization=start, algorithm=algorithm).fit(rows)
        for algorithm in ("lloyd", "lloyd_plain")
    )
    assert ours.iterations == plain.iterations
    np.testing.assert_allclose(ours.centroids, plain.centroids, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(ours.inertia, plain.inertia, rtol=1e-5)
    np.testing.assert_array_equal(ours.cluster_sizes, plain.cluster_sizes)


def test_what_it_keeps_changes_nothing():
    """A step made by an object that knows labels and sums only gives the same bits."""
    rows = blobs(5000, 12, 30, seed=3, spread=1.2)
    centroids, long_lived = rows[:40].copy(), fast(rows, 40)
    found = long_lived.step(centroids)
    for _ in range(8):
        before = (found.labels.copy(), found.sums.copy())
        centroids = means(found, centroids)
        found = long_lived.step(centroids)
        fresh = fast(rows, 40, 1.0, *before).step(centroids)
        for name in ("labels", "squares", "sums", "counts", "changed"):
            np.testing.assert_array_equal(getattr(fresh, name), getattr(found, name))


def test_a_row_that_is_not_finite_is_named():
    rows = blobs(300, 4, 3, seed=0)
    rows[123, 1] = np.nan
    with pytest.raises(InputError, match="row 123 "):
        fast(rows, 3).step(rows[:3])

import gc
import threading
import weakref

import numpy as np
import pytest
from clustering.test_kmeans import blobs

from ccssl_tf.clustering.host import plain
from ccssl_tf.clustering.host.accelerated import AcceleratedAssignment
from ccssl_tf.clustering.rows import sources
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader


def test_a_plain_pass_is_what_it_says():
    rows = blobs(700, 6, 9, seed=0).astype(np.float16)
    centroids = rows[:9].astype(np.float32)
    reader = ChunkReader(sources.open_source(rows, 0), 64, 0)
    found = plain.PlainAssignment(reader, np.full(700, -1, np.int32), np.zeros([9, 6])).step(
        centroids
    )
    exact = ((rows[:, None].astype(np.float64) - centroids) ** 2).sum(axis=-1)
    np.testing.assert_array_equal(found.labels, exact.argmin(axis=1))
    np.testing.assert_allclose(found.squares, exact.min(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(found.counts, np.bincount(found.labels, minlength=9))
    for cluster in range(9):
        np.testing.assert_allclose(
            found.sums[cluster],
            rows[found.labels == cluster].astype(np.float64).sum(axis=0),
            rtol=1e-9,
        )
    assert found.distances == 700 * 9 and found.labels.dtype == np.int32


def test_a_later_pass_measures_only_what_changed(monkeypatch):
    rows = blobs(700, 6, 9, seed=0)
    reader = ChunkReader(sources.open_source(rows, 0), 64, 0)
    passes = plain.PlainAssignment(reader, np.full(700, -1, np.int32), np.zeros([9, 6]))
    measure, measured = plain.measure, []

    def counted(*arguments):
        measured[-1] += len(arguments[-1])
        measure(*arguments)

    monkeypatch.setattr(plain, "measure", counted)
    centroids = rows[:9].astype(np.float32)
    for _ in range(12):
        measured.append(0)
        result = passes.step(centroids)
        exact = ((rows[:, None].astype(np.float64) - centroids) ** 2).sum(axis=-1)
        np.testing.assert_array_equal(result.labels, exact.argmin(axis=1))
        np.testing.assert_allclose(result.squares, exact.min(axis=1), rtol=1e-5)
        centroids = (result.sums / result.counts[:, None]).astype(np.float32)
    assert (
        measured[0] == 700
        and measured[-1] == 0
        and 0 < min(count for count in measured if count) < 700
    )


@pytest.mark.parametrize("count", [*range(1, 20), 700])
def test_of_equal_centroids_the_first_has_the_rows(count):
    rows = np.random.default_rng(count).normal(size=(count, 33)).astype(np.float32)
    centroids = np.repeat(rows[: min(count, 40)], 3, axis=0)
    labels, _ = plain.nearest(ChunkReader(sources.open_source(rows, 0), 64, 0), centroids)
    assert (labels % 3 == 0).all()


def test_a_pass_leaves_no_threads_and_no_rows_behind():
    rows = np.random.default_rng(0).normal(size=(500, 8)).astype(np.float32)
    before = threading.active_count()
    for _ in range(5):
        source = sources.open_source(rows, 0)
        remembered = weakref.ref(source)
        plain.nearest(ChunkReader(source, 64, 0), rows[:7])
        del source
        gc.collect()
        assert remembered() is None
    assert threading.active_count() <= before + 1


def groups(offset, dtype=np.float32):
    rows = np.random.default_rng(1).normal(size=(2000, 16))
    return (rows + np.where(np.arange(2000) < 1000, offset, -offset)[:, None]).astype(dtype)


@pytest.mark.parametrize(
    "rows",
    [
        *(groups(offset) for offset in (300, 1e3, 1e4)),
        groups(300, np.float16),
        groups(0) * np.where(np.arange(16) == 3, 1e5, 1).astype(np.float32),
        np.append(groups(0), np.full([1, 16], 1e7, np.float32), axis=0),
        np.repeat(groups(1e4)[::100], 100, axis=0),
    ],
    ids=["300", "1e3", "1e4", "float16", "one column", "outlier", "copies"],
)
def test_labels_are_those_of_float64_where_products_cancel(rows):
    centroids = np.concatenate([rows[::150], rows[:5], rows[-5:]]).astype(np.float32)
    reader = ChunkReader(sources.open_source(rows, 0), 640, 0)
    labels, squares = plain.nearest(reader, centroids)
    exact = np.stack(
        [((rows.astype(np.float64) - centroid) ** 2).sum(-1) for centroid in centroids], 1
    )
    np.testing.assert_array_equal(labels, exact.argmin(axis=1))
    np.testing.assert_allclose(squares, exact.min(axis=1), rtol=1e-5)
    start = (np.full(len(rows), -1, np.int32), np.zeros(centroids.shape))
    for kind in (plain.PlainAssignment, AcceleratedAssignment):
        np.testing.assert_array_equal(kind(reader, *start).step(centroids).labels, labels)

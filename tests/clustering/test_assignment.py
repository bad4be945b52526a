import gc
import threading
import weakref

import numpy as np
import pytest
from clustering.test_kmeans import blobs

from ccssl_tf.clustering import assignment, sources


def test_a_plain_pass_is_what_it_says():
    rows = blobs(700, 6, 9, seed=0).astype(np.float16)
    centroids = rows[:9].astype(np.float32)
    reader = sources.ChunkReader(sources.open_source(rows, 0), 64, 0)
    found = assignment.PlainAssignment(reader, np.full(700, -1, np.int32), np.zeros([9, 6])).step(
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
    reader = sources.ChunkReader(sources.open_source(rows, 0), 64, 0)
    plain = assignment.PlainAssignment(reader, np.full(700, -1, np.int32), np.zeros([9, 6]))
    measure, measured = assignment.measure, []

    def counted(*arguments):
        measured[-1] += len(arguments[-1])
        measure(*arguments)

    monkeypatch.setattr(assignment, "measure", counted)
    centroids = rows[:9].astype(np.float32)
    for _ in range(12):
        measured.append(0)
        found = plain.step(centroids)
        exact = ((rows[:, None].astype(np.float64) - centroids) ** 2).sum(axis=-1)
        np.testing.assert_array_equal(found.labels, exact.argmin(axis=1))
        np.testing.assert_allclose(found.squares, exact.min(axis=1), rtol=1e-5)
        centroids = (found.sums / found.counts[:, None]).astype(np.float32)
    assert (
        measured[0] == 700
        and measured[-1] == 0
        and 0 < min(count for count in measured if count) < 700
    )


@pytest.mark.parametrize("cores", [1, 2, 64])
@pytest.mark.parametrize(
    "num_examples, dim, num_clusters, rows",
    [
        (1, 4, 3, 1),
        (15_000, 4800, 1000, 1888),
        (1_281_167, 9600, 2000, 1104),
        (10**6, 4, 10**6, 10),
        (1000, 10**8, 10, 1),
    ],
)
def test_blocks_are_the_same_on_any_number_of_cores(
    num_examples, dim, num_clusters, rows, cores, monkeypatch
):
    monkeypatch.setattr("ccssl_tf.runs.machine.num_cores", lambda: cores)
    assert assignment.block_rows(num_examples, dim, num_clusters) == rows
    assert assignment.chunk_rows(num_examples, dim, num_clusters) == cores * rows
    blocks = [
        np.arange(2 * rows + 1)[block].tolist()
        for (block,) in assignment.blocks(2 * rows + 1, rows)
    ]
    assert blocks == [list(range(rows)), list(range(rows, 2 * rows)), [2 * rows]]
    assert assignment.blocks(0, rows) == []


@pytest.mark.parametrize("count", [*range(1, 20), 700])
def test_of_equal_centroids_the_first_has_the_rows(count):
    rows = np.random.default_rng(count).normal(size=(count, 33)).astype(np.float32)
    centroids = np.repeat(rows[: min(count, 40)], 3, axis=0)
    labels, _ = assignment.nearest(
        sources.ChunkReader(sources.open_source(rows, 0), 64, 0), centroids
    )
    assert (labels % 3 == 0).all()


def test_a_pass_leaves_no_threads_and_no_rows_behind():
    rows = np.random.default_rng(0).normal(size=(500, 8)).astype(np.float32)
    before = threading.active_count()
    for _ in range(5):
        source = sources.open_source(rows, 0)
        remembered = weakref.ref(source)
        assignment.nearest(sources.ChunkReader(source, 64, 0), rows[:7])
        del source
        gc.collect()
        assert remembered() is None
    assert threading.active_count() <= before + 1

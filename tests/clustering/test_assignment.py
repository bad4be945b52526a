import gc
import inspect
import threading
import weakref

import numpy as np
import pytest
from clustering.test_kmeans import blobs

from ccssl_tf.clustering import assignment, distributed, replica_assignment, sources
from ccssl_tf.clustering.accelerated import AcceleratedAssignment
from ccssl_tf.clustering.block_sizes import block_rows
from ccssl_tf.clustering.chunk_reader import ChunkReader


def test_a_plain_pass_is_what_it_says():
    rows = blobs(700, 6, 9, seed=0).astype(np.float16)
    centroids = rows[:9].astype(np.float32)
    reader = ChunkReader(sources.open_source(rows, 0), 64, 0)
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
    reader = ChunkReader(sources.open_source(rows, 0), 64, 0)
    plain = assignment.PlainAssignment(reader, np.full(700, -1, np.int32), np.zeros([9, 6]))
    measure, measured = assignment.measure, []

    def counted(*arguments):
        measured[-1] += len(arguments[-1])
        measure(*arguments)

    monkeypatch.setattr(assignment, "measure", counted)
    centroids = rows[:9].astype(np.float32)
    for _ in range(12):
        measured.append(0)
        result = plain.step(centroids)
        exact = ((rows[:, None].astype(np.float64) - centroids) ** 2).sum(axis=-1)
        np.testing.assert_array_equal(result.labels, exact.argmin(axis=1))
        np.testing.assert_allclose(result.squares, exact.min(axis=1), rtol=1e-5)
        centroids = (result.sums / result.counts[:, None]).astype(np.float32)
    assert (
        measured[0] == 700
        and measured[-1] == 0
        and 0 < min(count for count in measured if count) < 700
    )


@pytest.mark.parametrize(
    "kind",
    [
        AcceleratedAssignment,
        assignment.PlainAssignment,
        distributed.WorkerAssignment,
        replica_assignment.ReplicaAssignment,
    ],
)
def test_every_way_to_assign_has_the_one_contract(kind):
    assert issubclass(kind, assignment.Assignment) and not kind.__abstractmethods__
    wanted = inspect.signature(assignment.Assignment.step)
    assert inspect.signature(kind.step) == wanted
    with pytest.raises(TypeError, match="abstract"):
        assignment.Assignment()


def test_chunks_have_a_block_for_every_core(monkeypatch):
    rows = block_rows(15_000, 4800, 1000)
    for cores in (1, 2, 64):
        monkeypatch.setattr("ccssl_tf.runs.machine.num_cores", lambda cores=cores: cores)
        assert assignment.chunk_rows(15_000, 4800, 1000) == cores * rows


def test_of_an_interrupted_pass_the_clusters_that_changed_are_known():
    begun = assignment.Begun(np.array([3, -1, 2, 2], np.int32), np.zeros(4, np.float32))
    labels = np.array([3, 5, 7, 2, 9, 9], np.int32)
    np.testing.assert_array_equal(begun.changed(labels), [2, 5, 7])
    assert not len(assignment.Begun.nothing().changed(labels))


@pytest.mark.parametrize("count", [*range(1, 20), 700])
def test_of_equal_centroids_the_first_has_the_rows(count):
    rows = np.random.default_rng(count).normal(size=(count, 33)).astype(np.float32)
    centroids = np.repeat(rows[: min(count, 40)], 3, axis=0)
    labels, _ = assignment.nearest(ChunkReader(sources.open_source(rows, 0), 64, 0), centroids)
    assert (labels % 3 == 0).all()


def test_a_pass_leaves_no_threads_and_no_rows_behind():
    rows = np.random.default_rng(0).normal(size=(500, 8)).astype(np.float32)
    before = threading.active_count()
    for _ in range(5):
        source = sources.open_source(rows, 0)
        remembered = weakref.ref(source)
        assignment.nearest(ChunkReader(source, 64, 0), rows[:7])
        del source
        gc.collect()
        assert remembered() is None
    assert threading.active_count() <= before + 1

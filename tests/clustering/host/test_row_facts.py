import numpy as np
import pytest

from ccssl_tf.clustering.host.block_threads import BlockThreads
from ccssl_tf.clustering.host.centroid_facts import CentroidFacts
from ccssl_tf.clustering.host.row_facts import RowFacts
from ccssl_tf.clustering.host.row_window import RowWindow

START, SIZE = 30, 70


@pytest.fixture
def problem():
    """Rows of a window that is not the first, labels, and the facts of both."""
    generator = np.random.default_rng(0)
    rows = (generator.normal(size=[SIZE, 8]) + 20).astype(np.float16)
    centroids = (generator.normal(size=[5, 8]) + 20).astype(np.float32)
    labels = generator.integers(5, size=START + SIZE).astype(np.int32)
    threads = BlockThreads(8, lambda: None, rows=SIZE, centroids=SIZE)
    of_centroids = CentroidFacts(5, 8, threads)
    of_centroids.follow(centroids)
    return rows, RowFacts(labels, of_centroids, threads), of_centroids, labels


def test_measured_rows_have_squares_and_reach(problem):
    rows, facts, centroids, labels = problem
    assert facts.labels is not labels
    local = np.array([3, 0, 69, 40])
    facts.measure(RowWindow(START, SIZE, 5, 16), rows, local)
    difference = rows[local].astype(np.float64) - centroids.values[labels[START + local]]
    distance = np.sqrt((difference**2).sum(axis=1))
    np.testing.assert_allclose(facts.squares[START + local], distance**2, rtol=1e-5)
    np.testing.assert_allclose(facts.reach[START + local], distance, rtol=1e-4)
    assert (facts.reach[START + local] >= distance).all()
    assert np.isposinf(np.delete(facts.squares, START + local)).all()


def test_shifted_rows_are_in_the_memory_of_the_thread(problem):
    rows, facts, centroids, _ = problem
    taken = facts.take_shifted(rows, np.array([5, 2]))
    np.testing.assert_array_equal(taken, rows[[5, 2]].astype(np.float32) - centroids.shift)
    assert np.shares_memory(taken, facts.take_shifted(rows, np.array([1])))


def test_a_row_that_moves_keeps_the_smaller_reach(problem):
    rows, facts, _, _ = problem
    window, local = RowWindow(START, SIZE, 5, 16), np.array([7, 8])
    facts.measure(window, rows, np.arange(SIZE))
    facts.reach[START + 7] = 0.25
    facts.move(window, rows, local, np.array([2, 4], np.int32))
    np.testing.assert_array_equal(facts.labels[START + local], [2, 4])
    assert facts.reach[START + 7] == np.float32(0.25)
    facts.move(window, rows, local[:0], np.zeros(0, np.int32))

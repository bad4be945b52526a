import numpy as np
import pytest

from ccssl_tf.clustering.host import screening
from ccssl_tf.clustering.host.block_threads import BlockThreads
from ccssl_tf.clustering.host.centroid_facts import CentroidFacts

CLUSTERS, DIM = 300, 320


@pytest.fixture
def centroids():
    return np.random.default_rng(0).normal(3, 1, [CLUSTERS, DIM]).astype(np.float32)


def facts_of(*passes):
    facts = CentroidFacts(CLUSTERS, DIM, BlockThreads(DIM, lambda: None))
    for centroids in passes:
        facts.follow(centroids)
    return facts


def test_first_pass(centroids):
    facts = facts_of(centroids)
    exact = centroids.astype(np.float64)
    np.testing.assert_array_equal(facts.values, centroids)
    np.testing.assert_allclose(facts.shift, exact.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(facts.shifted, -2 * (exact - facts.shift), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(facts.norms, ((exact - facts.shift) ** 2).sum(axis=1), rtol=1e-5)
    assert np.isposinf(facts.drift).all() and not facts.moved.any()
    np.testing.assert_array_equal(facts.columns, np.arange(CLUSTERS))


def test_what_moved_is_computed_again_and_only_that(centroids):
    generator, moved = np.random.default_rng(1), np.array([0, 7, 128, 299])
    second, third = centroids.copy(), centroids.copy()
    second[moved] += generator.normal(size=(4, DIM)).astype(np.float32)
    third[moved] = second[moved]
    third[7] += 1
    facts = facts_of(centroids)
    # A mark in what is kept of another.
    facts.shifted[5] = 77
    facts.follow(second)
    distance = np.linalg.norm(second.astype(np.float64) - centroids, axis=1)
    assert (facts.drift >= distance).all()
    np.testing.assert_allclose(facts.drift, distance, rtol=1e-4)
    np.testing.assert_array_equal(np.flatnonzero(facts.drift), moved)
    np.testing.assert_allclose(facts.shifted[moved], -2 * (second[moved] - facts.shift), rtol=1e-6)
    assert (facts.shifted[5] == 77).all()
    facts.follow(third)
    np.testing.assert_array_equal(np.flatnonzero(facts.drift), [7])
    np.testing.assert_allclose(facts.moved[7], distance[7] + DIM**0.5, rtol=1e-4)
    np.testing.assert_allclose(facts.moved[moved[[0, 2, 3]]], distance[moved[[0, 2, 3]]], rtol=1e-4)


def test_of_equal_centroids_the_first_is_a_column(centroids):
    centroids[[40, 200]] = centroids[3]
    facts = facts_of(centroids)
    np.testing.assert_array_equal(facts.columns, np.setdiff1d(np.arange(CLUSTERS), [40, 200]))
    np.testing.assert_array_equal(np.flatnonzero(facts.is_column), facts.columns)


def test_reduced_centroids_follow(centroids):
    facts = facts_of(centroids)
    reduction = screening.Reduction(centroids - facts.shift, screening.num_directions(DIM))
    facts.reduce(reduction)
    second = centroids.copy()
    second[[2, 250]] *= 2
    facts.follow(second)
    reduced, slack = reduction.centroids(second - facts.shift)
    np.testing.assert_allclose(facts.reduced, reduced, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(facts.slack, slack, rtol=1e-4)


def test_ranks_are_of_the_present_centroids(centroids):
    facts = facts_of(centroids)
    first = facts.ranks
    assert facts.ranks is first
    facts.follow(centroids[::-1].copy())
    assert facts.ranks is not first
    np.testing.assert_array_equal(np.sort(facts.ranks), np.arange(CLUSTERS))

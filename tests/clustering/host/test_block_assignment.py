import numpy as np
import pytest
from clustering.host.test_accelerated import KINDS, data, exact_labels

from ccssl_tf.clustering.host import screening
from ccssl_tf.clustering.host.block_assignment import BlockAssignment
from ccssl_tf.clustering.host.block_threads import BlockThreads
from ccssl_tf.clustering.host.centroid_facts import CentroidFacts
from ccssl_tf.clustering.host.distances import square_norms
from ccssl_tf.clustering.host.row_facts import RowFacts
from ccssl_tf.clustering.host.row_window import RowWindow

SIZE, DIM, CLUSTERS = 100, 40, 12


def block_of(rows, centroids, labels, screens):
    threads = BlockThreads(DIM, lambda: None, rows=SIZE, centroids=SIZE)
    of_centroids = CentroidFacts(len(centroids), DIM, threads)
    of_centroids.follow(centroids)
    if screens:
        sample = rows[::2].astype(np.float32) - of_centroids.shift
        of_centroids.reduce(screening.Reduction(sample, 10))
    facts = RowFacts(labels, of_centroids, threads)
    facts.norms[:] = square_norms(rows.astype(np.float32) - of_centroids.shift)
    window = RowWindow(0, len(rows), len(centroids), 16)
    known = np.flatnonzero(labels >= 0)
    facts.measure(window, rows, known)
    return BlockAssignment(facts, of_centroids, threads), facts, of_centroids, window


@pytest.mark.parametrize("screens", [False, True])
@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_open_granules_get_exact_labels(kind, labelled, screens):
    rows = data(kind, SIZE, DIM, seed=1)[:SIZE]
    centroids = rows[:: SIZE // CLUSTERS][:CLUSTERS].astype(np.float32)
    labels = np.full(SIZE, -1, np.int32)
    if labelled:
        labels = np.random.default_rng(0).integers(CLUSTERS, size=SIZE).astype(np.int32)
    block, facts, of_centroids, window = block_of(rows, centroids, labels, screens)
    granules, columns = np.array([0, 2, 6]), of_centroids.columns
    places = window.places_of(granules)
    computed = block.assign(window, rows, screens, granules, columns)
    assert 0 <= computed <= len(places) * len(columns)
    wanted = exact_labels(rows, centroids)
    # A row whose label is the copy of another centroid keeps it: passes start from first copies.
    if len(columns) == CLUSTERS:
        np.testing.assert_array_equal(facts.labels[places], wanted[places])
    others = np.setdiff1d(np.arange(SIZE), places)
    np.testing.assert_array_equal(facts.labels[others], labels[others])
    # The renewed bounds exclude only centroids that are further away than the nearest.
    exact = ((rows.astype(np.float64)[:, None] - centroids) ** 2).sum(axis=-1)
    is_open = window.bounds.open_pairs(0, 7, of_centroids.moved)
    for place in places:
        row = window.order[place]
        closed = ~is_open[place // 16]
        closed[facts.labels[row]] = False
        assert (exact[row, closed] >= exact[row, facts.labels[row]]).all()


def test_only_the_given_centroids_and_the_present_one_come_into_question():
    rows = data("blobs", SIZE, DIM, seed=0)
    centroids = rows[:CLUSTERS]
    labels = np.full(SIZE, 4, np.int32)
    block, facts, _, window = block_of(rows, centroids, labels, False)
    block.assign(window, rows, False, np.arange(7), np.array([2, 9]))
    candidates = np.array([2, 4, 9])
    np.testing.assert_array_equal(
        facts.labels, candidates[exact_labels(rows, centroids[candidates])]
    )

import numpy as np
from clustering.host.test_centroid_facts import CLUSTERS, facts_of

from ccssl_tf.clustering.host.row_window import RowWindow


def facts():
    centroids = np.random.default_rng(0).normal(size=[CLUSTERS, 320]).astype(np.float32)
    centroids[17] = centroids[3]
    return facts_of(centroids)


def test_at_first_all_pairs_are_open():
    window = RowWindow(100, 70, CLUSTERS, 16)
    assert window.rows == slice(100, 170) and not window.is_met
    blocks, pairs = window.open_blocks(facts(), 32)
    assert [granules.tolist() for granules, _ in blocks] == [[0, 1], [2, 3], [4]]
    for _, columns in blocks:
        # Of equal centroids only the first is in question.
        np.testing.assert_array_equal(columns, np.setdiff1d(np.arange(CLUSTERS), [17]))
    assert pairs == (32 + 32 + 16) * (CLUSTERS - 1)
    np.testing.assert_array_equal(
        window.places_of(np.array([1, 4])), [*range(16, 32), *range(64, 70)]
    )


def test_only_open_granules_and_columns_are_given_out():
    window, centroids = RowWindow(0, 64, CLUSTERS, 16), facts()
    lower = np.full([64, CLUSTERS], 9, np.float32)
    lower[20, 5] = lower[50, 8] = 0.5
    reach = np.ones(64, np.float32)
    window.bounds.store(np.arange(4), np.arange(CLUSTERS), lower, reach, centroids.moved)
    blocks, pairs = window.open_blocks(centroids, 32)
    assert [(granules.tolist(), columns.tolist()) for granules, columns in blocks] == [
        ([1], [5]),
        ([3], [8]),
    ]
    assert pairs == 2 * 16


def test_sorting_forgets_bounds_and_is_stable():
    window, centroids = RowWindow(0, 64, CLUSTERS, 16), facts()
    lower = np.full([64, CLUSTERS], 9, np.float32)
    window.bounds.store(
        np.arange(4), np.arange(CLUSTERS), lower, np.ones(64, np.float32), centroids.moved
    )
    assert window.open_blocks(centroids, 32) == ([], 0)
    labels = np.random.default_rng(1).integers(3, size=64)
    window.sort(labels)
    np.testing.assert_array_equal(window.order, np.argsort(labels, kind="stable"))
    assert window.open_blocks(centroids, 32)[1] == 64 * (CLUSTERS - 1)

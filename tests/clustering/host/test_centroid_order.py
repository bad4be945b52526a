import numpy as np

from ccssl_tf.clustering.host.centroid_order import neighbour_ranks


def test_ranks_are_an_order_that_keeps_groups_together():
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(16), 8)
    centroids = (
        20 * generator.normal(size=(16, 300))[groups] + generator.normal(size=(128, 300))
    ).astype(np.float32)
    mixed = generator.permutation(128)
    ranks = neighbour_ranks(centroids[mixed])
    np.testing.assert_array_equal(np.sort(ranks), np.arange(128))
    np.testing.assert_array_equal(ranks, neighbour_ranks(centroids[mixed]))
    in_order = groups[mixed][np.argsort(ranks)]
    # Halving puts a group of eight into one eighth after four cuts, unless a cut goes through it.
    assert np.sum(in_order[1:] != in_order[:-1]) < 40


def test_any_number_and_any_values():
    for count in (1, 2, 5, 33):
        for dim in (1, 3, 200):
            for centroids in (
                np.zeros([count, dim], np.float32),
                np.full([count, dim], 1e15, np.float32),
            ):
                assert sorted(neighbour_ranks(centroids)) == list(range(count))

import numpy as np
from clustering.test_kmeans import blobs
from sklearn.cluster import kmeans_plusplus

from ccssl_tf.clustering.start import kmeans_plus_plus


def test_greedy_plus_plus_is_as_good_as_scikit_learn():
    rows = blobs(3000, 16, 50, seed=5, spread=0.5)

    def potential(centers):
        return np.min(((rows[:, None] - centers[None]) ** 2).sum(-1), axis=1).sum()

    ours = np.mean(
        [potential(kmeans_plus_plus.kmeans_plus_plus(rows, 50, seed)) for seed in range(5)]
    )
    theirs = np.mean(
        [potential(kmeans_plusplus(rows, 50, random_state=seed)[0]) for seed in range(5)]
    )
    assert ours < 1.1 * theirs


def test_copies_are_taken_only_when_nothing_else_is_left():
    different = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32) + 100
    rows = np.repeat(different, 30, axis=0)
    for seed in range(10):
        assert len(np.unique(kmeans_plus_plus.kmeans_plus_plus(rows, 6, seed), axis=0)) == 6
        assert np.isfinite(kmeans_plus_plus.kmeans_plus_plus(rows, 9, seed)).all()


def test_the_sample_is_bounded():
    assert kmeans_plus_plus.sample_size(100, 10, 5, 1 << 30) == 100
    assert kmeans_plus_plus.sample_size(10**6, 10, 5, 1 << 30) == 20_000
    assert kmeans_plus_plus.sample_size(10**6, 10, 2000, 1 << 30) == 40_000
    # 9600 features, 1 GiB: a third of it.
    assert kmeans_plus_plus.sample_size(10**6, 9600, 2000, 1 << 30) * 9600 * 4 <= 2**30 / 3
    assert kmeans_plus_plus.sample_size(10**6, 9600, 2000, 0) == 4000


def test_positions_are_different_ascending_and_seeded():
    positions = kmeans_plus_plus.random_positions(1000, 300, 4)
    assert (np.diff(positions) > 0).all() and positions.min() >= 0 and positions.max() < 1000
    np.testing.assert_array_equal(positions, kmeans_plus_plus.random_positions(1000, 300, 4))
    assert not np.array_equal(positions, kmeans_plus_plus.random_positions(1000, 300, 5))


def test_distances_are_right_where_products_cancel():
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(50, 16)).astype(np.float32)
    rows += np.where(np.arange(50) < 25, 1e4, -1e4)[:, None].astype(np.float32)
    squares = ((rows[:, None].astype(np.float64) - rows) ** 2).sum(axis=-1)
    for candidate in (0, 30):
        closest, _ = kmeans_plus_plus.closest_after(
            rows,
            (rows**2).sum(axis=1),
            np.full(50, np.float32(np.finfo(np.float32).max)),
            np.array([candidate]),
            np.ones(50, np.float32),
        )
        np.testing.assert_allclose(closest, squares[candidate], rtol=1e-3)

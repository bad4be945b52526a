import numpy as np
import pytest

from ccssl_tf.clustering.host.cluster_sums import add_rows, move_rows


def test_rows_are_added_and_taken_back():
    rows = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float16)
    labels = np.random.default_rng(2).integers(3, size=20)
    index = np.arange(5, 25)
    sums = np.zeros([3, 4])
    add_rows(sums, labels, rows, index)
    wanted = np.array(
        [rows[5:25][labels == cluster].astype(np.float64).sum(axis=0) for cluster in range(3)]
    )
    np.testing.assert_allclose(sums, wanted, rtol=1e-12)
    add_rows(sums, labels, rows, index, -1)
    np.testing.assert_allclose(sums, 0, atol=1e-12)


@pytest.mark.parametrize("shares", [1, 2, 3])
def test_sums_follow_rows_that_move(shares):
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(80, 4)).astype(np.float32)
    sums, before = np.zeros([6, 4]), np.full(80, -1, np.int32)
    for _ in range(4):
        after = np.where(generator.random(80) < 0.5, before, generator.integers(6, size=80))
        after = np.where(after < 0, 0, after).astype(np.int32)
        changed = [
            move_rows(sums, rows, before, after, None, shares, share) for share in range(shares)
        ]
        moved = before != after
        wanted = np.setdiff1d(np.union1d(before[moved], after[moved]), [-1])
        np.testing.assert_array_equal(np.sort(np.concatenate(changed)), wanted)
        for share, numbers in enumerate(changed):
            assert (numbers % shares == share).all()
        before = after
    for cluster in range(6):
        np.testing.assert_allclose(
            sums[cluster], rows[before == cluster].sum(axis=0, dtype=np.float64), atol=1e-12
        )

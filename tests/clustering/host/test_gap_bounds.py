import numpy as np
import pytest

from ccssl_tf.clustering.host.gap_bounds import GapBounds, granule_rows


def distance(rows, centroids):
    return np.sqrt(((rows[:, None] - centroids) ** 2).sum(axis=-1))


@pytest.mark.parametrize("size", [16, 32])
def test_a_closed_pair_can_never_matter(size):
    """Centroids wander, rows change their clusters: a pair that is not open is further than the own
    centroid, for every row.
    """
    generator = np.random.default_rng(0)
    rows, centroids = generator.normal(size=(size * 5 + 7, 4)), generator.normal(size=(12, 4))
    bounds = GapBounds(len(rows), 12, size)
    moved, labels = np.zeros(12), distance(rows, centroids).argmin(axis=1)
    reach = (distance(rows, centroids).min(axis=1) * (1 + 1e-6)).astype(np.float32)
    granule = np.arange(len(rows)) // size
    assert bounds.open_pairs(0, 6, moved).all()
    closed = 0
    for step in range(60):
        if step:
            drift = (
                0.05 * generator.normal(size=centroids.shape) * (generator.random((12, 1)) < 0.3)
            )
            centroids += drift
            moved += np.sqrt((drift**2).sum(axis=1)) * (1 + 1e-9)
        distances = distance(rows, centroids)
        before = reach.astype(np.float64)
        reach = (distances[np.arange(len(rows)), labels] * (1 + 1e-6)).astype(np.float32)
        bounds.grow(reach - before)
        pairs = bounds.open_pairs(0, 6, moved)
        matters = distances <= distances[np.arange(len(rows)), labels][:, None]
        matters[np.arange(len(rows)), labels] = False
        assert not (matters & ~pairs[granule]).any()
        closed += np.sum(~pairs)
        # Compute the open columns of the granules that have any, as a pass does.
        granules, columns = np.flatnonzero(pairs.any(axis=1)), np.flatnonzero(pairs.any(axis=0))
        if not len(granules):
            continue
        local = np.flatnonzero(np.isin(granule, granules))
        old = labels.copy()
        labels[local] = distances[local].argmin(axis=1)
        changed = np.flatnonzero(labels != old)
        reach[changed] = np.minimum(
            reach[changed], distances[changed, labels[changed]] * (1 + 1e-6)
        )
        lower = distances.copy()
        lower[np.arange(len(rows)), labels] = np.inf
        bounds.store(
            granules,
            columns,
            lower[np.ix_(local, columns)].astype(np.float32) * np.float32(1 - 1e-6),
            reach[local],
            moved,
        )
        bounds.lower(
            changed,
            old[changed],
            distances[changed, old[changed]] * (1 - 1e-6) - reach[changed],
            moved,
        )
    assert closed > 500


def test_granules_are_as_small_as_the_memory_allows():
    assert [granule_rows(1_281_167, 2000, 256, gigabytes << 30) for gigabytes in (1, 0)] == [16, 0]
    assert granule_rows(1_281_167, 2000, 256, 1 << 28) == 64
    for size in (16, 64, 256):
        assert 4 * 2000 * -(-1_281_167 // size) <= (1 << 30) * 16 // size
    assert (
        granule_rows(100, 10, 256, 4 * 10 * 7) == 16
        and granule_rows(100, 10, 256, 4 * 10 * 7 - 1) == 32
    )
    assert granule_rows(100, 10, 256, 40) == 128 and granule_rows(100, 10, 256, 39) == 0

import numpy as np
import pytest
from clustering.host.test_accelerated import KINDS, data

from ccssl_tf.clustering.host import screening


def bounds(reduction, rows, centroids):
    (reduced_rows, row_slack), (reduced_centroids, slack) = (
        reduction.rows(rows),
        reduction.centroids(centroids),
    )
    return screening.lower_bounds(reduced_rows, reduced_centroids) - row_slack[:, None] - slack


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dim", [1, 17, 300, 700])
@pytest.mark.parametrize("directions", [1, 16])
def test_bounds_are_never_above_the_distances(kind, dim, directions):
    rows = data(kind, 200, dim, seed=dim).astype(np.float32)
    centroids = np.concatenate([rows[:40], rows[40:80] + np.float32(1e-3), rows[80:100] * 3])
    reduction = screening.Reduction(
        rows[screening.Reduction.sample(len(rows), directions)], min(directions, dim)
    )
    assert reduction.dim <= min(directions, dim) + 3
    lower = bounds(reduction, rows, centroids)
    exact = np.sqrt(
        ((rows.astype(np.float64)[:, None] - centroids.astype(np.float64)) ** 2).sum(-1)
    )
    assert np.all(lower <= exact)


def test_bounds_are_tight_where_features_are_correlated():
    generator = np.random.default_rng(0)
    rows = (
        generator.normal(size=(500, 12)) @ generator.normal(size=(12, 800))
        + 0.01 * generator.normal(size=(500, 800))
    ).astype(np.float32)
    reduction = screening.Reduction(rows[screening.Reduction.sample(len(rows), 16)], 16)
    lower = bounds(reduction, rows[50:], rows[:50])
    exact = np.sqrt(((rows[50:, None] - rows[:50]) ** 2).sum(-1))
    assert np.median(lower / exact) > 0.98


def test_few_dimensions_are_not_screened():
    assert [screening.num_directions(dim) for dim in (3, 255, 256, 4096, 4800, 9600)] == [
        0,
        0,
        16,
        256,
        256,
        256,
    ]


def test_samples_are_ascending_and_no_more_than_there_are():
    np.testing.assert_array_equal(screening.Reduction.sample(5, 16), np.arange(5))
    sample = screening.Reduction.sample(15_000, 256)
    assert (
        len(sample) == 512
        and sample[0] == 0
        and sample[-1] == 14_999
        and (np.diff(sample) > 0).all()
    )

"""Ranks and neighbours against formulas written down again and scikit-learn's classifier."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from ccssl_tf.metrics.feature_health import (
    effective_rank,
    feature_health,
    has_collapsed,
    neighbor_accuracy,
)


def rows_of(seed, count, dim, decay=1.0):
    random = np.random.default_rng(seed)
    return random.normal(size=[count, dim]) * decay ** np.arange(dim) + random.normal(size=dim)


@pytest.mark.parametrize(("count", "dim", "decay"), [(200, 30, 0.8), (20, 64, 1.0), (50, 1, 1.0)])
def test_effective_rank_is_exp_of_the_entropy_of_singular_values(count, dim, decay):
    rows = rows_of(0, count, dim, decay).astype(np.float32)
    centered = rows.astype(np.float64) - rows.astype(np.float64).mean(0)
    # The singular values are the roots of the covariance's eigenvalues.
    values = np.sqrt(np.clip(np.linalg.eigvalsh(centered.T @ centered), 0, None))
    shares = values[values > 1e-6 * values.max()] / values.sum()
    expected = np.prod(shares**-shares)
    assert effective_rank(rows) == pytest.approx(expected, rel=1e-4)


def test_effective_rank_of_known_rows():
    equal = np.vstack([np.eye(6), -np.eye(6)]) + 3
    assert effective_rank(equal) == pytest.approx(6)
    line = np.outer(np.arange(9.0), [1, 2, 3]) + 5
    assert effective_rank(line) == pytest.approx(1)
    for constant in (np.zeros([9, 4]), np.full([9, 4], 0.1, np.float32)):
        assert effective_rank(constant) == 0
    noise = 0.1 + 1e-9 * np.random.default_rng(0).normal(size=[9, 4])
    assert effective_rank(noise) == 0


@pytest.mark.parametrize("copies", [1, 30])
def test_neighbor_accuracy_is_scikit_learns_of_every_row_among_the_others(copies):
    """With 30 copies of each row, more rows than are asked for are equally near."""
    labels = np.repeat(np.arange(4), 60 // copies).repeat(copies)
    rows = rows_of(1, len(labels) // copies, 8).repeat(copies, 0)
    rows += 2 * np.eye(8)[labels]
    right = 0
    for left_out in range(len(rows)):
        others = np.arange(len(rows)) != left_out
        classifier = KNeighborsClassifier(
            20, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.07)
        )
        classifier.fit(rows[others], labels[others])
        right += int(classifier.predict(rows[left_out][None])[0] == labels[left_out])
    expected = right / len(rows)
    assert neighbor_accuracy(rows, labels) == pytest.approx(expected, abs=1e-9)
    assert 0.4 < expected <= 1


def test_health_has_spread_and_neighbours_where_they_mean_something():
    rows, labels = rows_of(2, 100, 5), np.arange(100) % 10
    found = feature_health(rows, labels)
    assert set(found) == {"effective_rank", "feature_std", "feature_mean", "neighbor_accuracy"}
    assert found["feature_std"] == pytest.approx(np.mean([np.std(column) for column in rows.T]))
    assert found["feature_mean"] == pytest.approx(np.abs(rows).mean())
    assert not has_collapsed(found)
    for fewer in (np.arange(100) % 11, np.full(100, -1)):
        assert "neighbor_accuracy" not in feature_health(rows, fewer)
    assert "neighbor_accuracy" not in feature_health(rows[:20], np.zeros(20, np.int64))


@pytest.mark.parametrize(
    "rows",
    [
        np.zeros([50, 8]),
        np.full([50, 8], 3.0) + 1e-6 * rows_of(3, 50, 8),
        np.outer(np.arange(50.0), np.arange(8)),
        np.full([50, 8], np.nan),
    ],
    ids=["zeros", "equal", "line", "nan"],
)
def test_rows_that_tell_nothing_apart_have_collapsed(rows):
    assert has_collapsed(feature_health(rows, np.full(50, -1)))

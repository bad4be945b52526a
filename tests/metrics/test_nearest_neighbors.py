"""Nearest neighbours and their votes, held against scikit-learn's."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from ccssl_tf.metrics.nearest_neighbors import nearest_neighbors, normalized, votes


def make_rows(count, dim=24, seed=0, offset=0.0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=[count, dim]) + offset).astype(np.float32)


def blocks_of(rows, size):
    return (rows[start : start + size] for start in range(0, len(rows), size))


@pytest.mark.parametrize("size", [7, 40, 500])
@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_they_are_scikit_learns(size, offset):
    rows, queries = make_rows(333, offset=offset), make_rows(61, seed=1, offset=offset)
    done = []
    positions, distances = nearest_neighbors(queries, blocks_of(rows, size), 5, done.append)
    theirs = NearestNeighbors(n_neighbors=5, algorithm="brute").fit(rows.astype(np.float64))
    their_distances, their_positions = theirs.kneighbors(queries.astype(np.float64))
    np.testing.assert_array_equal(positions, their_positions)
    np.testing.assert_allclose(np.sqrt(distances), their_distances, rtol=1e-6, atol=1e-6)
    assert done[-1] == 333 and sorted(done) == done


def test_of_equally_near_rows_the_first_comes_first():
    rows = np.repeat(make_rows(10), 3, axis=0)
    positions, distances = nearest_neighbors(rows[::3], blocks_of(rows, 8), 3)
    np.testing.assert_array_equal(positions, np.arange(30).reshape(10, 3))
    assert not distances.any()
    with pytest.raises(ValueError, match="30 rows to search, fewer than the 31"):
        nearest_neighbors(rows[:1], blocks_of(rows, 8), 31)


@pytest.mark.parametrize("temperature", [0.0, 0.07])
def test_votes_are_scikit_learns(temperature):
    rows, queries = normalized(make_rows(400)), normalized(make_rows(150, seed=1))
    classes = np.random.default_rng(2).integers(0, 7, 400)
    positions, distances = nearest_neighbors(queries, blocks_of(rows, 150), 9)
    answers = votes(classes[positions], distances, 7, temperature)
    assert np.sort(answers, 1).tolist() == [list(range(7))] * 150

    def weights(far):
        return np.exp((1 - far**2 / 2) / temperature)

    theirs = KNeighborsClassifier(
        9, algorithm="brute", weights=weights if temperature else "uniform"
    ).fit(rows.astype(np.float64), classes)
    np.testing.assert_array_equal(answers[:, 0], theirs.predict(queries.astype(np.float64)))
    likely = theirs.predict_proba(queries.astype(np.float64))
    np.testing.assert_allclose(
        np.take_along_axis(likely, answers, 1), -np.sort(-likely, 1), atol=1e-12
    )


def test_very_sure_votes_are_finite():
    answers = votes(np.array([[1, 0, 0]]), np.array([[0.0, 4.0, 4.0]]), 2, 1e-5)
    assert answers.tolist() == [[1, 0]]


def test_rows_get_length_one():
    rows = np.array([[3, 4], [0, 0], [1e-20, 0]], np.float32)
    np.testing.assert_allclose(normalized(rows), [[0.6, 0.8], [0, 0], [1, 0]], atol=1e-6)

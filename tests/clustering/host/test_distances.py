import numpy as np
import pytest

from ccssl_tf.clustering.host import distances


@pytest.mark.parametrize("dim", [1, 3, 100, 4800])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_rounding_bounds_the_error_of_the_products(dim, scale):
    generator = np.random.default_rng(dim)
    rows, centroids = (
        scale * generator.gamma(0.5, size=[count, dim]).astype(np.float32) for count in (60, 40)
    )
    shift = centroids.mean(axis=0)
    shifted, norms = distances.shift_centroids(centroids, shift)
    moved = rows - shift
    row_norms = distances.square_norms(moved)
    squares = distances.squared_distances(moved, shifted, row_norms, norms)
    exact = ((rows[:, None].astype(np.float64) - centroids) ** 2).sum(axis=-1)
    allowed = distances.rounding(dim) * (row_norms[:, None].astype(np.float64) + norms)
    assert (np.abs(squares - exact) <= allowed).all()
    # The direct sums are off by that share of themselves.
    direct = distances.square_norms(rows[:40] - centroids)
    np.testing.assert_allclose(direct, np.diagonal(exact), rtol=distances.rounding(dim))
    np.testing.assert_allclose(
        distances.exact_squares(rows[:40], centroids), np.diagonal(exact), rtol=1e-12
    )


@pytest.mark.parametrize("dim", [1, 2, 7, 64, 1000, 9600])
def test_a_norm_does_not_depend_on_the_rows_beside_it(dim):
    rows = np.random.default_rng(0).normal(size=(200, dim)).astype(np.float32)
    norms = distances.square_norms(rows.copy())
    for index in ([0], [199], [3, 5], range(7), range(1, 200), [5] * 33):
        np.testing.assert_array_equal(distances.square_norms(rows[list(index)]), norms[list(index)])


@pytest.mark.parametrize("seed", range(3))
def test_only_the_first_of_equal_rows_is_one(seed):
    generator = np.random.default_rng(seed)
    rows = generator.integers(-1, 2, size=(60, 3)).astype(np.float32)
    rows[rows == 0] *= np.where(generator.random(np.sum(rows == 0)) < 0.5, -1, 1)
    wanted = np.zeros(60, bool)
    wanted[np.unique(rows + 0.0, axis=0, return_index=True)[1]] = True
    np.testing.assert_array_equal(
        distances.is_first_of_equals(rows, distances.square_norms(rows)), wanted
    )


@pytest.mark.parametrize("far", [0, 100])
def test_all_forms_of_the_formula_agree(far):
    generator = np.random.default_rng(0)
    rows, centroids = (
        generator.normal(far, 1, size=[count, 30]).astype(np.float32) for count in (60, 40)
    )
    shift = distances.common_shift(centroids)
    np.testing.assert_allclose(shift, centroids.mean(axis=0, dtype=np.float64), rtol=1e-6)
    rows_there, centroids_there = rows - shift, centroids - shift
    exact = ((rows[:, None].astype(np.float64) - centroids) ** 2).sum(axis=-1)
    row_norms = distances.square_norms(rows_there)
    for norms_of in (distances.square_norms, distances.square_norms64):
        scaled, norms = distances.shift_centroids(centroids, shift, norms_of)
        np.testing.assert_array_equal(scaled, -2 * centroids_there)
        assert scaled.dtype == norms.dtype == np.float32
        squares = distances.squared_distances(rows_there, scaled, row_norms, norms)
        np.testing.assert_allclose(squares, exact, rtol=1e-4)
        scores = distances.nearest_scores(rows_there, centroids_there, norms / 2)
        np.testing.assert_allclose(row_norms[:, None] - 2 * scores, exact, rtol=1e-4)
        # Half of a number and a factor of 2 are exact, so this form cannot differ by a bit.
        np.testing.assert_array_equal(scores, (rows_there @ scaled.T + norms) / np.float32(-2))


def test_norms_in_float64_and_upper_bounds():
    rows = np.random.default_rng(0).normal(size=(50, 3000)).astype(np.float32)
    exact = (rows.astype(np.float64) ** 2).sum(axis=1)
    norms = distances.square_norms64(rows)
    assert norms.dtype == np.float64
    np.testing.assert_allclose(norms, exact, rtol=1e-13)
    upper = distances.upper_bounds(distances.square_norms(rows), distances.rounding(3000))
    assert (upper >= exact).all() and upper.dtype == np.float32


@pytest.mark.parametrize("difference_bytes", [1 << 20, 100])
def test_the_nearest_candidate_is_decided_by_differences(difference_bytes, monkeypatch):
    monkeypatch.setattr(distances, "_DIFFERENCE_BYTES", difference_bytes)
    generator = np.random.default_rng(0)
    rows = (generator.normal(size=(40, 5)) + 1e4).astype(np.float32)
    centroids = np.repeat((generator.normal(size=(6, 5)) + 1e4).astype(np.float32), 2, axis=0)
    is_candidate = generator.random((40, 12)) < 0.4
    is_candidate[:, 3] = True
    squares = ((rows[:, None].astype(np.float64) - centroids) ** 2).sum(axis=-1)
    wanted = np.where(is_candidate, squares, np.inf).argmin(axis=1)
    np.testing.assert_array_equal(distances.decide(rows, centroids, is_candidate), wanted)

import numpy as np
import pytest

from ccssl_tf.clustering import distances


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
    squares = moved @ shifted.T + norms + row_norms[:, None]
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


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8", "int64"])
def test_gathered_rows_are_float32_copies(dtype):
    rows = np.arange(30).reshape(10, 3).astype(dtype)
    memory = distances.Gathered(5, 3)
    for index in ([0, 9, 4], [2], [], [1, 1, 1, 1, 8]):
        taken = memory.take(rows, np.array(index, np.int32))
        assert taken.dtype == np.float32 and not np.shares_memory(taken, rows)
        np.testing.assert_array_equal(taken, rows[index])


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_every_float16_becomes_the_float32_it_is():
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    rows = np.stack([every, every[::-1]], axis=1)
    for given in (rows, np.asfortranarray(rows), rows[::2], rows[:1], rows[:0], rows.astype(">f2")):
        found = distances.as_float32(given)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, given.astype(np.float32))
        np.testing.assert_array_equal(np.signbit(found), np.signbit(given))
        out = np.empty([len(given) + 1, 2], np.float32)
        assert np.shares_memory(distances.as_float32(given, out[1:]), out) or not len(given)
        np.testing.assert_array_equal(out[1:], found)
        np.testing.assert_array_equal(distances.as_float64(given), given.astype(np.float64))


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int64"])
def test_other_rows_as_float32(dtype):
    rows = np.arange(30).reshape(10, 3).astype(dtype)
    found, out = distances.as_float32(rows), np.empty([10, 3], np.float32)
    assert found.dtype == np.float32 and np.shares_memory(found, rows) == (dtype == "float32")
    for converted in (found, distances.as_float32(rows, out), out, distances.as_float64(rows)):
        np.testing.assert_array_equal(converted, rows)
    assert not np.shares_memory(distances.as_float64(rows), rows)


def test_rows_are_added_and_taken_back():
    rows = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float16)
    labels = np.random.default_rng(2).integers(3, size=20)
    index = np.arange(5, 25)
    sums = np.zeros([3, 4])
    distances.add_rows(sums, labels, rows, index)
    wanted = np.array(
        [rows[5:25][labels == cluster].astype(np.float64).sum(axis=0) for cluster in range(3)]
    )
    np.testing.assert_allclose(sums, wanted, rtol=1e-12)
    distances.add_rows(sums, labels, rows, index, -1)
    np.testing.assert_allclose(sums, 0, atol=1e-12)


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

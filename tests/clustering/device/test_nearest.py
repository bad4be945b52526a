import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.clustering.device import nearest
from ccssl_tf.clustering.host.distances import common_shift


def centroids_of(values):
    shift = common_shift(values)
    return nearest.Centroids(values, shift, *nearest.shifted_centroids(values, shift))


def exact(rows, values):
    """Labels and squared distances of differences in float64."""
    squares = np.stack(
        [((rows.astype(np.float64) - value.astype(np.float64)) ** 2).sum(-1) for value in values], 1
    )
    return squares.argmin(axis=1), squares.min(axis=1)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_nearest_centroids_and_their_squares(dtype):
    generator = np.random.default_rng(0)
    rows = (generator.normal(size=(60, 30)) + 50).astype(dtype)
    values = (generator.normal(size=(12, 30)) + 50).astype(np.float32)
    labels, squares = nearest.nearest_centroids(tf.constant(rows), centroids_of(values))
    wanted, distances = exact(rows, values)
    np.testing.assert_array_equal(labels, wanted)
    np.testing.assert_allclose(squares, distances, rtol=1e-5)
    assert labels.dtype == tf.int64 and squares.dtype == tf.float32


def groups(offset):
    rows = np.random.default_rng(1).normal(size=(600, 16)).astype(np.float32)
    return rows + np.where(np.arange(600) < 300, offset, -offset)[:, None].astype(np.float32)


def scaled(column):
    rows = groups(0)
    rows[:, 3] *= column
    return rows


@pytest.mark.parametrize(
    "rows",
    [
        *(groups(offset) for offset in (300, 1e3, 1e4, 1e6)),
        scaled(1e5),
        np.append(groups(0), np.full([3, 16], 1e7, np.float32), axis=0),
        np.repeat(groups(1e4)[::40], 20, axis=0),
    ],
    ids=["300", "1e3", "1e4", "1e6", "one column", "outliers", "copies"],
)
@pytest.mark.parametrize("difference_bytes", [1 << 20, 1 << 12])
def test_labels_are_those_of_float64_where_products_cancel(rows, difference_bytes, monkeypatch):
    monkeypatch.setattr(nearest, "_DIFFERENCE_BYTES", difference_bytes)
    values = np.concatenate([rows[::30], rows[:5], rows[-5:]])
    labels, squares = nearest.nearest_centroids(tf.constant(rows), centroids_of(values))
    wanted, distances = exact(rows, values)
    np.testing.assert_array_equal(labels, wanted)
    np.testing.assert_allclose(squares, distances, rtol=1e-5)


def test_of_equal_centroids_the_first_is_the_nearest():
    rows = np.random.default_rng(0).normal(size=(90, 33)).astype(np.float32)
    values = np.repeat(rows[:40], 3, axis=0)
    labels, _ = nearest.nearest_centroids(tf.constant(rows), centroids_of(values))
    assert not (labels.numpy() % 3).any()


def test_rows_that_are_not_finite_show_in_their_distances():
    rows = np.ones([4, 3], np.float32)
    rows[1, 2], rows[2, 0] = np.nan, np.inf
    _, squares = nearest.nearest_centroids(tf.constant(rows), centroids_of(np.eye(3, dtype="f4")))
    np.testing.assert_array_equal(np.isfinite(squares), [True, False, False, True])


def test_either_factor_may_be_scaled():
    generator = np.random.default_rng(0)
    left, right = (generator.normal(size=[count, 7]).astype(np.float32) for count in (9, 5))
    norms = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)
    squares = nearest.squared_distances(-2 * left, right, norms)
    np.testing.assert_array_equal(squares, nearest.squared_distances(left, -2 * right, norms))
    np.testing.assert_allclose(squares, ((left[:, None] - right) ** 2).sum(axis=-1), rtol=1e-4)


@pytest.mark.parametrize("allowed", [True, False])
def test_tensor_float_32_is_off_inside_and_as_before_outside(allowed):
    config = tf.config.experimental
    before = config.tensor_float_32_execution_enabled()
    try:
        config.enable_tensor_float_32_execution(allowed)
        with pytest.raises(KeyboardInterrupt), nearest.exact_float32():
            assert not config.tensor_float_32_execution_enabled()
            raise KeyboardInterrupt
        assert config.tensor_float_32_execution_enabled() == allowed
    finally:
        config.enable_tensor_float_32_execution(before)


def test_chunks_fit_their_bytes():
    assert nearest.chunk_rows(2000, 9600) * (4 * 2000 + 20 * 9600) <= 256 << 20
    assert nearest.chunk_rows(10, 4) == 8192 and nearest.chunk_rows(10**6, 10**6) == 16


@pytest.mark.parametrize("offset", [0, 300])
def test_the_nearest_few_are_those_of_float64_distances(offset):
    """With twins and a cluster far off, where products in float32 have no digits left."""
    random = np.random.default_rng(3)
    rows = (random.normal(size=[300, 20]) + offset).astype(np.float32)
    values = (random.normal(size=[9, 20]) + offset).astype(np.float32)
    values[7] = values[2]
    values[8] = -40 * values[8]
    squares = ((rows[:, None].astype(np.float64) - values.astype(np.float64)) ** 2).sum(-1)
    order = np.argsort(squares, axis=1, kind="stable")
    numbers, found = nearest.nearest_others(
        tf.constant(rows), centroids_of(values), tf.constant(order[:, 0]), 8
    )
    np.testing.assert_array_equal(numbers, order[:, 1:])
    np.testing.assert_allclose(found, np.take_along_axis(squares, order, 1)[:, 1:], rtol=1e-4)

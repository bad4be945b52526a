import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.clustering.device import distances as device_distances
from ccssl_tf.clustering.host import distances


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_nearest_centroids_and_their_squares(dtype):
    generator = np.random.default_rng(0)
    rows = (generator.normal(size=(60, 30)) + 50).astype(dtype)
    centroids = (generator.normal(size=(12, 30)) + 50).astype(np.float32)
    shift = distances.common_shift(centroids)
    scaled, norms = distances.shift_centroids(centroids, shift, distances.square_norms64)
    labels, squares = device_distances.nearest_centroids(rows, centroids, shift, scaled, norms)
    exact = ((rows[:, None].astype(np.float64) - centroids) ** 2).sum(axis=-1)
    np.testing.assert_array_equal(labels, exact.argmin(axis=1))
    np.testing.assert_allclose(squares, exact.min(axis=1), rtol=1e-5)
    assert labels.dtype == tf.int32 and squares.dtype == tf.float32


def test_either_factor_may_be_scaled():
    generator = np.random.default_rng(0)
    left, right = (generator.normal(size=[count, 7]).astype(np.float32) for count in (9, 5))
    norms = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)
    squares = device_distances.squared_distances(-2 * left, right, norms)
    np.testing.assert_array_equal(
        squares, device_distances.squared_distances(left, -2 * right, norms)
    )
    np.testing.assert_allclose(squares, ((left[:, None] - right) ** 2).sum(axis=-1), rtol=1e-4)


@pytest.mark.parametrize("allowed", [True, False])
def test_tensor_float_32_is_off_inside_and_as_before_outside(allowed):
    config = tf.config.experimental
    before = config.tensor_float_32_execution_enabled()
    try:
        config.enable_tensor_float_32_execution(allowed)
        with pytest.raises(KeyboardInterrupt), device_distances.exact_float32():
            assert not config.tensor_float_32_execution_enabled()
            raise KeyboardInterrupt
        assert config.tensor_float_32_execution_enabled() == allowed
    finally:
        config.enable_tensor_float_32_execution(before)

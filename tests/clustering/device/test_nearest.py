import numpy as np

from ccssl_tf.clustering.device.nearest import Centroids


def test_nearest_and_changed_centroids():
    generator = np.random.default_rng(0)
    values = (generator.normal(size=(7, 5)) + 1000).astype(np.float32)
    rows = (generator.normal(size=(50, 5)) + 1000).astype(np.float32)
    centroids = Centroids(values, values.mean(axis=0))
    values[[2, 4]] = rows[:2]
    centroids.change(np.array([2, 4]), values[[2, 4]])
    exact = ((rows[:, None].astype(np.float64) - values[None]) ** 2).sum(-1)
    labels, squares = centroids.nearest(rows)
    np.testing.assert_array_equal(labels, exact.argmin(axis=1))
    np.testing.assert_allclose(squares, exact.min(axis=1), rtol=1e-4, atol=1e-9)

"""The nearest of centroids that stay on the device, for rows that come batch by batch."""

import numpy as np
import tensorflow as tf

from ccssl_tf.clustering.device import distances as device_distances
from ccssl_tf.clustering.host.distances import shift_centroids, square_norms64


class Centroids:
    """Centroids on the device, with what `device_distances.nearest_centroids` takes of them."""

    def __init__(self, centroids: np.ndarray, shift: np.ndarray):
        """Args: centroids: [K, D] float32; shift: [D] float32, see `distances.common_shift`."""
        self._shift = shift
        self._values, self._scaled, self._norms = (
            tf.Variable(tf.zeros(shape), trainable=False)
            for shape in (centroids.shape, centroids.shape, [len(centroids)])
        )
        self.change(np.arange(len(centroids)), centroids)

    def change(self, numbers: np.ndarray, values: np.ndarray) -> None:
        """Sets the centroids `numbers` [n] to `values` [n, D] float32."""
        scaled, norms = shift_centroids(values, self._shift, square_norms64)
        for variable, value in (
            (self._values, values),
            (self._scaled, scaled),
            (self._norms, norms),
        ):
            variable.scatter_update(tf.IndexedSlices(value, numbers))

    def nearest(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the nearest centroid of every row, and its squared distance.

        Args:
          rows: [n, D] of any type.

        Returns:
          labels [n] int32, squared distances [n] float32.
        """
        rows = rows if rows.dtype == np.float16 else rows.astype(np.float32, copy=False)
        labels, squares = _nearest(
            tf.constant(rows), self._values, self._shift, self._scaled, self._norms
        )
        return labels.numpy(), squares.numpy()


_nearest = tf.function(device_distances.nearest_centroids, reduce_retracing=True, autograph=False)

"""The nearest of some centroids that stay on the device, for rows that come batch by batch."""

import numpy as np
import tensorflow as tf


class Centroids:
    """Centroids whose products with rows are taken of both minus a common vector, so that a large
    mean costs no precision.
    """

    def __init__(self, centroids: np.ndarray, shift: np.ndarray):
        """Args: centroids: [K, D] float32; shift: [D] float32."""
        self._shift = shift
        self._values, self._shifted, self._norms = (
            tf.Variable(tf.zeros(shape), trainable=False)
            for shape in (centroids.shape, centroids.shape, [len(centroids)])
        )
        self.change(np.arange(len(centroids)), centroids)

    def change(self, numbers: np.ndarray, values: np.ndarray):
        """Sets the centroids `numbers` [n] to `values` [n, D] float32."""
        shifted = values - self._shift
        norms = np.einsum("ij,ij->i", shifted, shifted, dtype=np.float64).astype(np.float32)
        for variable, value in (
            (self._values, values),
            (self._shifted, -2 * shifted),
            (self._norms, norms),
        ):
            variable.scatter_update(tf.IndexedSlices(value, numbers))

    def nearest(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the nearest centroids [n] int32 of rows [n, D], and the squared distances to them
        [n] float32.
        """
        rows = rows if rows.dtype == np.float16 else rows.astype(np.float32, copy=False)
        labels, squares = _nearest(
            tf.constant(rows), self._values, self._shifted, self._norms, self._shift
        )
        return labels.numpy(), squares.numpy()


@tf.function(reduce_retracing=True, autograph=False)
def _nearest(rows, values, shifted, norms, shift):
    rows = tf.cast(rows, tf.float32)
    labels = tf.argmin(
        norms + tf.matmul(rows - shift, shifted, transpose_b=True), axis=-1, output_type=tf.int32
    )
    return labels, tf.reduce_sum(
        tf.math.squared_difference(rows, tf.gather(values, labels)), axis=-1
    )

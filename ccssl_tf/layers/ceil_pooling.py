"""Max pooling that rounds the output size up, as Caffe does."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="ccssl_tf")
class CeilMaxPooling2D(keras.layers.Layer):
    """Max pooling over [B, H, W, C] to ceil((H - size) / stride) + 1 rows, likewise columns
    (Caffe's pooling, no padding).

    Args:
      keep_below: maps whose height is at most this pass unchanged (for small images, whose maps
        would vanish); 0 never.
    """

    def __init__(self, pool_size, strides, keep_below=0, **kwargs):
        super().__init__(**kwargs)
        self.pool_size, self.strides, self.keep_below = pool_size, strides, keep_below

    def call(self, inputs):
        """Maps [B, H, W, C] to [B, H', W', C]."""
        height = inputs.shape[1]
        if height is None and self.keep_below:
            return ops.cond(
                ops.shape(inputs)[1] <= self.keep_below, lambda: inputs, lambda: self._pool(inputs)
            )
        return inputs if self._is_kept(height) else self._pool(inputs)

    def _is_kept(self, height):
        return height is not None and height <= self.keep_below

    def _pool(self, inputs):
        padding = [self._padding(size) for size in inputs.shape[1:3]]
        if any(padding):
            inputs = ops.pad(
                inputs,
                [[0, 0], [0, padding[0]], [0, padding[1]], [0, 0]],
                constant_values=-float("inf"),
            )
        return ops.max_pool(
            inputs, self.pool_size, self.strides, padding="valid", data_format="channels_last"
        )

    def _padding(self, size):
        """Rows of -inf that make VALID pooling round up: strides - 1 always do, and exactly these
        when the size is known.
        """
        return self.strides - 1 if size is None else -(size - self.pool_size) % self.strides

    def compute_output_shape(self, input_shape):
        """[B, H', W', C], with None where the input's size is None."""
        if self._is_kept(input_shape[1]):
            return input_shape
        sizes = [
            None if n is None else -(-(n - self.pool_size) // self.strides) + 1
            for n in input_shape[1:3]
        ]
        return (input_shape[0], *sizes, input_shape[3])

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "pool_size": self.pool_size,
            "strides": self.strides,
            "keep_below": self.keep_below,
        }

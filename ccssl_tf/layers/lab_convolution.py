"""The first convolution of a network in two halves: one sees lightness, the other colour."""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="ccssl_tf")
class LabConv2D(keras.layers.Conv2D):
    """A `Conv2D` over Lab [B, H, W, 3] whose first half of filters reads L alone, whose second half
    reads a and b alone.

    One kernel [k, k, 3, F] in which the weights across are held at zero, as the released
    split-brain network has it (Zhang et al. 2017): groups of one and of two channels, which no
    grouped convolution offers, in a layer of the usual shape.
    """

    def build(self, input_shape):
        """Creates the kernel, zero where a half sees nothing."""
        super().build(input_shape)
        half = self.filters // 2
        self._seen = np.zeros([1, 1, 3, self.filters], "float32")
        self._seen[..., :1, :half] = self._seen[..., 1:, half:] = 1
        self.kernel.assign(self.kernel * self._seen)

    def convolution_op(self, inputs, kernel):
        """Convolves [B, H, W, 3]; no gradient reaches the weights held at zero."""
        return super().convolution_op(
            inputs, kernel * ops.convert_to_tensor(self._seen, dtype=kernel.dtype)
        )

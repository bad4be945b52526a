"""Local response normalisation across channels (Krizhevsky et al. 2012, section 3.3)."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="ccssl_tf")
class LocalResponseNormalization(keras.layers.Layer):
    """Divides by a power of the windowed channel energy: y = x / (bias + alpha / n * sum of x^2
    over n channels) ** beta.

    `alpha` is Caffe's, which divides it by the window size n. Always computed in float32 (float16
    overflows), then cast back.
    """

    def __init__(self, window=5, bias=1.0, alpha=1e-4, beta=0.75, **kwargs):
        """Args: window: odd number of channels n. bias, alpha, beta: as in the equation; Caffe's
        AlexNet values by default.
        """
        super().__init__(**kwargs)
        if window < 1 or window % 2 == 0:
            raise ValueError(f"window: must be a positive odd number of channels, not {window}")
        self.window, self.bias, self.alpha, self.beta = window, bias, alpha, beta

    def call(self, inputs):
        """Maps [B, H, W, C] to the same shape and dtype."""
        if keras.backend.backend() != "tensorflow":
            return self.in_keras_operations(inputs)
        import tensorflow as tf

        x, radius = ops.cast(inputs, "float32"), self.window // 2
        normalized = tf.nn.local_response_normalization(
            x, radius, self.bias, self.alpha / self.window, self.beta
        )
        return ops.cast(normalized, inputs.dtype)

    def in_keras_operations(self, inputs):
        """As `call`, in operations of Keras alone."""
        x, radius = ops.cast(inputs, "float32"), self.window // 2
        channels = x.shape[-1]
        squares = ops.pad(ops.square(x), [[0, 0]] * (len(x.shape) - 1) + [[radius, radius]])
        energy = sum(squares[..., offset : offset + channels] for offset in range(self.window))
        normalized = x * ops.power(self.bias + self.alpha / self.window * energy, -self.beta)
        return ops.cast(normalized, inputs.dtype)

    def compute_output_shape(self, input_shape):
        """The input's shape."""
        return input_shape

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "window": self.window,
            "bias": self.bias,
            "alpha": self.alpha,
            "beta": self.beta,
        }

"""Dropout whose mask is a function of each example's seed, so that it does not depend on the number
of replicas.
"""

import contextlib
import contextvars

import keras
from keras import ops

_SEEDS = contextvars.ContextVar("per_example_seeds", default=None)


@contextlib.contextmanager
def per_example_seeds(seeds):
    """Inside this context every `PerExampleDropout` draws its mask from `seeds`, [B, 2] int64 (a
    batch's `seed`).
    """
    token = _SEEDS.set(seeds)
    try:
        yield
    finally:
        _SEEDS.reset(token)


@keras.saving.register_keras_serializable(package="ccssl_tf")
class PerExampleDropout(keras.layers.Layer):
    """Zeroes each unit with probability `rate` in training and scales the rest by 1 / (1 - rate).

    Args:
      rate: in [0, 1).
      stream: number that sets this layer's draws apart from those of other layers with the same
        seeds.
      drops_rows: one draw for a whole row, as residual branches are dropped (stochastic depth).

    Outside `per_example_seeds` (a user's own Keras loop, other backends) the mask comes from a
    Keras seed generator.
    """

    def __init__(self, rate, stream, drops_rows=False, **kwargs):
        super().__init__(**kwargs)
        self.rate, self.stream, self.drops_rows = rate, stream, drops_rows
        self._generator = keras.random.SeedGenerator(stream)

    def call(self, inputs, training=False):
        """Maps [B * m, ...] to the same shape; m rows of each example when seeds are given."""
        seeds = _SEEDS.get()
        if not training or self.rate == 0:
            return inputs
        drawn = (
            inputs[(slice(None), *[slice(1)] * (inputs.ndim - 1))] if self.drops_rows else inputs
        )
        if seeds is None:
            return keras.random.dropout(
                inputs,
                self.rate,
                noise_shape=drawn.shape if self.drops_rows else None,
                seed=self._generator,
            )
        from ccssl_tf.ops.per_example_random import uniform_like

        kept = ops.cast(uniform_like(seeds, drawn, self.stream) >= self.rate, inputs.dtype)
        return inputs * kept / (1 - self.rate)

    def compute_output_shape(self, input_shape):
        """The input's shape."""
        return input_shape

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "rate": self.rate,
            "stream": self.stream,
            "drops_rows": self.drops_rows,
        }

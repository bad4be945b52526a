"""Local response normalisation against loops over the published equation, on TensorFlow's operation
and on the general path.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.layers import LocalResponseNormalization


def loops(x, window=5, bias=1.0, alpha=1e-4, beta=0.75):
    """y_c = x_c / (bias + alpha / n * sum over the n channels around c of x^2) ** beta,
    in float64.
    """
    x = x.astype(np.float64)
    y = np.empty_like(x)
    channels = x.shape[-1]
    for c in range(channels):
        energy = sum(
            x[..., other] ** 2
            for other in range(max(0, c - window // 2), min(channels, c + window // 2 + 1))
        )
        y[..., c] = x[..., c] / (bias + alpha / window * energy) ** beta
    return y


def picture(seed, channels=11, scale=30.0):
    return (np.random.default_rng(seed).normal(size=[2, 3, 4, channels]) * scale).astype("float32")


# "jax" only hides TensorFlow from the layer, so that its general path runs on TensorFlow tensors.
@pytest.fixture(params=["tensorflow", "jax"])
def path(request, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: request.param)
    return request.param


SETTINGS = [
    {},
    dict(window=3, bias=2.0, alpha=0.5, beta=0.5),
    dict(window=1, alpha=1.0),
    dict(window=7, alpha=5.0, beta=1.0),
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("channels", [1, 4, 11])
def test_forward(path, settings, channels):
    x = picture(0, channels)
    found = LocalResponseNormalization(**settings)(x)
    np.testing.assert_allclose(found, loops(x, **settings), rtol=2e-5)


@pytest.mark.parametrize("settings", SETTINGS)
def test_gradient_is_that_of_finite_differences(path, settings):
    x = tf.constant(picture(1, 6, 2.0)[:1, :2, :2])
    direction = np.random.default_rng(2).normal(size=x.shape)
    layer = LocalResponseNormalization(**settings)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(layer(x) * direction.astype("float32"))
    found = tape.gradient(loss, x).numpy()
    expected, step = np.empty(x.shape), 1e-5
    for place in np.ndindex(*x.shape):
        moved = np.zeros(x.shape)
        moved[place] = step
        x64 = x.numpy().astype(np.float64)
        difference = loops(x64 + moved, **settings) - loops(x64 - moved, **settings)
        expected[place] = np.sum(difference * direction) / (2 * step)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_half_precision_is_computed_in_single(path):
    """The squares of a float16 network's large activations overflow float16."""
    x = picture(3, scale=1000.0).astype("float16")
    found = LocalResponseNormalization(dtype="float16")(x)
    assert found.dtype == "float16"
    assert np.all(np.isfinite(found))
    np.testing.assert_allclose(np.float32(found), loops(x.astype("float32")), rtol=2e-3)


def test_shape_and_config():
    layer = LocalResponseNormalization(window=3, bias=2.0, alpha=0.5, beta=0.25)
    assert layer.compute_output_shape((None, None, None, 96)) == (None, None, None, 96)
    copy = LocalResponseNormalization.from_config(layer.get_config())
    assert (copy.window, copy.bias, copy.alpha, copy.beta) == (3, 2.0, 0.5, 0.25)


@pytest.mark.parametrize("window", [0, 4, -1])
def test_even_windows_are_refused(window):
    with pytest.raises(
        ValueError, match=f"window: must be a positive odd number of channels, not {window}"
    ):
        LocalResponseNormalization(window=window)

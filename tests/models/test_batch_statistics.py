"""Statistics of batch normalisation measured anew are those of the population."""

import keras
import numpy as np
import pytest

from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.batch_statistics import batch_normalizations, calibrate_batch_normalization
from ccssl_tf.runs.errors import InputError


def make_backbone(**options):
    keras.utils.set_random_seed(0)
    return AlexNet(
        stem="small", width_multiplier=0.1, fc_units=(), normalization="batch_norm", **options
    )


def make_batches(number=3, size=5):
    rng = np.random.default_rng(1)
    return [
        rng.integers(0, 256, [size, 32, 32, 3], np.uint8) // (1 + batch) for batch in range(number)
    ]


def kernels_of(backbone):
    kinds = keras.layers.Conv2D | keras.layers.Dense
    return [np.array(layer.kernel) for layer in backbone.layers if isinstance(layer, kinds)]


def inputs_of_first(backbone, images):
    """What the first batch normalisation sees of the images: [B, H, W, C] float64."""
    first = batch_normalizations(backbone)[0]
    model = keras.Model(backbone.inputs, first.input)
    return model.predict(backbone.normalize(images), verbose=0).astype(np.float64)


def test_the_first_layer_gets_mean_and_variance_of_all_images():
    backbone, batches = make_backbone(image_size=32), make_batches()
    seen = inputs_of_first(backbone, np.concatenate(batches))
    kernels = kernels_of(backbone)
    assert calibrate_batch_normalization(backbone, batches) == 15
    first = batch_normalizations(backbone)[0]
    np.testing.assert_allclose(first.moving_mean, seen.mean((0, 1, 2)), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(first.moving_variance, seen.var((0, 1, 2)), rtol=1e-3)
    after = kernels_of(backbone)
    assert all(np.array_equal(one, other) for one, other in zip(kernels, after, strict=True))


def test_one_batch_is_answered_as_in_training_and_settings_stay():
    backbone, (images,) = make_backbone(image_size=32), make_batches(1)
    backbone.trainable = False
    layers = batch_normalizations(backbone)
    momenta = [layer.momentum for layer in layers]
    calibrate_batch_normalization(backbone, [images])
    assert [layer.momentum for layer in layers] == momenta
    assert not any(layer.trainable for layer in layers)
    normalized = backbone.normalize(images)
    evaluated = backbone(normalized, training=False)
    for layer in layers:
        layer.trainable = True
    trained = backbone(normalized, training=True)
    for name in evaluated:
        np.testing.assert_allclose(evaluated[name], trained[name], rtol=1e-3, atol=1e-3)


def test_what_cannot_be_calibrated_is_refused():
    with pytest.raises(InputError, match="no batch normalisation"):
        calibrate_batch_normalization(
            AlexNet(stem="small", width_multiplier=0.1, fc_units=(), normalization="none"), []
        )
    with pytest.raises(InputError, match="no batch of images"):
        calibrate_batch_normalization(make_backbone(image_size=32), [])

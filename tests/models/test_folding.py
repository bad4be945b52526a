"""A folded network has no batch normalisation and the endpoints of the one it was made from."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.models import VGG16, AlexNet, load_backbone, save_backbone
from ccssl_tf.models.folding import _folded, fold_batch_normalization
from ccssl_tf.runs.errors import InputError

NETWORKS = {
    "small alexnet": lambda: AlexNet(
        stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=()
    ),
    "alexnet with fc": lambda: AlexNet(
        normalization="batch_norm", width_multiplier=0.1, fc_units=(12, 9), image_size=67
    ),
    "vgg16": lambda: VGG16(
        normalization="batch_norm", width_multiplier=0.1, fc_units=(), input_mean=(1, 2, 3)
    ),
    "halves": lambda: AlexNet(
        stem="small",
        normalization="batch_norm",
        width_multiplier=0.1,
        fc_units=(),
        colors="lab_halves",
    ),
}


def with_statistics(backbone, seed=0):
    """Gives batch normalisation statistics and parameters far from its start."""
    random = np.random.default_rng(seed)
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.gamma.shape[0]
            draws = (
                random.uniform(0.3, 2, size),
                random.normal(size=size),
                random.normal(size=size),
                random.uniform(0.1, 4, size),
            )
            layer.set_weights(draws)
    return backbone


@pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS)
def test_endpoints_are_kept(build, tmp_path):
    backbone = with_statistics(build())
    folded = fold_batch_normalization(backbone)
    assert not [
        layer for layer in folded.layers if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert (
        folded.get_config()["normalization"] == "none" and folded.input_mean == backbone.input_mean
    )
    side = backbone.input_shape[1] or 40
    images = np.random.default_rng(1).normal(size=[3, side, side, 3]).astype("float32") * 60
    expected, found = backbone(images, training=False), folded(images, training=False)
    assert list(found) == list(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(
            found[name], value, rtol=1e-4, atol=1e-5 * float(tf.reduce_max(value)), err_msg=name
        )
    save_backbone(folded, tmp_path)
    assert load_backbone(tmp_path).weights_from["weights_from"] == dict(
        batch_normalization="merged into the kernels"
    )


@pytest.mark.parametrize(
    "options", [dict(scale=False), dict(center=False), dict(epsilon=0.1)], ids=str
)
def test_the_equation_on_a_layer_with_a_bias(options):
    """As loops over output channels, for normalisations without scale or without shift.

    Context's has no scale.
    """
    random = np.random.default_rng(2)
    norm = keras.layers.BatchNormalization(**options)
    norm.build((None, 5))
    norm.set_weights([random.uniform(0.5, 2, weight.shape) for weight in norm.get_weights()])
    kernel, bias, x = random.normal(size=(4, 5)), random.normal(size=5), random.normal(size=(6, 4))
    expected = norm((x @ kernel + bias).astype("float32"), training=False)
    folded_kernel, folded_bias = _folded([kernel, bias], norm)
    for channel in range(5):
        found = [
            sum(row[i] * folded_kernel[i, channel] for i in range(4)) + folded_bias[channel]
            for row in x
        ]
        np.testing.assert_allclose(found, expected[:, channel], rtol=1e-5, atol=1e-6)


def test_a_network_without_batch_normalisation_is_refused():
    with pytest.raises(InputError, match="alexnet: has no batch normalisation to merge"):
        fold_batch_normalization(AlexNet(width_multiplier=0.05, fc_units=()))

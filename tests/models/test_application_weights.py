"""Published weights of keras.applications arrive whole, or are refused."""

import keras
import numpy as np
import pytest

from ccssl_tf.models.application_weights import _download, import_weights
from ccssl_tf.runs.errors import CorruptArtifactError, InputError
from ccssl_tf.runs.files import file_sha256

TINY = dict(network="MobileNetV2", width_multiplier=0.1)


def with_other_weights(model):
    """Gives every weight of a model another value than its start, so that losing it would show."""
    random = np.random.default_rng(3)
    for layer in model.layers:
        if layer.weights and not isinstance(layer, keras.layers.Normalization):
            layer.set_weights(
                [weight + random.uniform(0, 0.05, weight.shape) for weight in layer.get_weights()]
            )
    return model


def fresh(network, **options):
    return getattr(keras.applications, network)(weights=None, **options)


def pixels():
    return np.random.default_rng(0).integers(0, 256, [2, 64, 64, 3]).astype(np.uint8)


def test_published_files_with_and_without_top(tmp_path):
    theirs = with_other_weights(
        fresh("MobileNetV2", alpha=0.1, input_shape=(32, 32, 3), classes=1000)
    )
    theirs.save_weights(tmp_path / "top.weights.h5")
    backbone = import_weights(tmp_path / "top.weights.h5", **TINY)
    np.testing.assert_array_equal(
        backbone.get_layer("Conv_1").get_weights()[0], theirs.get_layer("Conv_1").get_weights()[0]
    )
    told = dict(
        file=str(tmp_path / "top.weights.h5"), sha256=file_sha256(tmp_path / "top.weights.h5")
    )
    assert backbone.weights_from == dict(told, importer="keras.applications.MobileNetV2")


def test_other_files_are_refused_in_one_line(tmp_path):
    fresh("MobileNetV2", alpha=0.1, include_top=False, input_shape=(32, 32, 3)).save_weights(
        tmp_path / "narrow.weights.h5"
    )
    with pytest.raises(
        InputError, match="narrow.weights.h5: not the weights of keras.applications.MobileNetV2"
    ) as error:
        import_weights(tmp_path / "narrow.weights.h5", network="MobileNetV2", width_multiplier=0.5)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="none.h5: no such file"):
        import_weights(tmp_path / "none.h5", **TINY)
    (tmp_path / "junk.h5").write_bytes(b"nothing")
    with pytest.raises(CorruptArtifactError, match="junk.h5: damaged, or not an HDF5 file"):
        import_weights(tmp_path / "junk.h5", **TINY)


@pytest.mark.slow
def test_efficientnet_scales_its_input_as_published_and_refuses_other_weights(tmp_path):
    theirs = with_other_weights(fresh("EfficientNetB0", include_top=False, input_shape=(64, 64, 3)))
    theirs.save_weights(tmp_path / "unscaled.weights.h5")
    with pytest.raises(
        InputError, match="unscaled.weights.h5: its first layers do not scale images"
    ):
        import_weights(tmp_path / "unscaled.weights.h5", network="EfficientNetB0")
    for deviation in ([0.229, 0.224, 0.225], np.square([0.229, 0.224, 0.225])):
        layer = theirs.get_layer(index=2)
        layer.set_weights(
            [np.array([0.485, 0.456, 0.406]), np.array(deviation), *layer.get_weights()[2:]]
        )
        theirs.save_weights(tmp_path / "published.weights.h5")
        ours = import_weights(tmp_path / "published.weights.h5", network="EfficientNetB0")
        first = keras.Model(
            ours.input,
            next(
                layer for layer in ours.layers if isinstance(layer, keras.layers.Normalization)
            ).output,
        )
        expected = (pixels() / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        np.testing.assert_allclose(first(ours.normalize(pixels())), expected, rtol=1e-4, atol=1e-4)


def test_a_download_that_fails_is_one_line(monkeypatch):
    def no_network(*unused, **options):
        raise Exception("URL fetch failure on https://example.org\nNone")

    monkeypatch.setattr(
        "ccssl_tf.models.application_weights.applications.build_network", no_network
    )
    with pytest.raises(
        InputError,
        match="--weights=imagenet: the weights of MobileNetV2 cannot be had .URL .*; name a file$",
    ):
        _download("MobileNetV2", 1.0)

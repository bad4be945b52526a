"""SavedModels of others: by their signature, for those who trust them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.features.saved_models import open_saved_model
from ccssl_tf.runs.errors import CorruptArtifactError, InputError

RED = np.full([2, 16, 16, 3], (1, 0, 0), np.float32)


def opened(model, *, output=None, trust=False):
    return open_saved_model(model, output, trust)


def refused(message, model, error=InputError, **options):
    with pytest.raises(error, match=message) as raised:
        opened(model, **options)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 500


def two_headed(channels=3, size=16):
    images = keras.Input([size, size, channels], name="pixels")
    maps = keras.layers.Conv2D(4, 3, name="maps")(images)
    return keras.Model(
        images, dict(maps=maps, mean=keras.layers.GlobalAveragePooling2D(name="averaged")(maps))
    )


class Colors(tf.Module):
    """Mean colours, with the signature a user would write."""

    def __init__(self):
        super().__init__()
        self.factor = tf.Variable(2.0)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name="pixels")])
    def __call__(self, pixels):
        return dict(colors=self.factor * tf.reduce_mean(tf.cast(pixels, tf.float32), [1, 2]))


def save(module, path, **signatures):
    tf.saved_model.save(module, str(path), signatures=signatures or None)
    return path


def test_a_saved_model_runs_for_those_who_trust_it(tmp_path):
    save(Colors(), tmp_path / "a")
    refused("/a: a SavedModel is a program, .* give --trust_model if you trust", tmp_path / "a")
    found = opened(tmp_path / "a", trust=True)
    np.testing.assert_allclose(found.call(100.4 * RED), [[200, 0, 0]] * 2)
    np.testing.assert_allclose(found.call(300 * RED), [[510, 0, 0]] * 2)
    assert (found.kind, found.output, found.image_size) == ("saved_model", "colors", None)
    refused("--output=maps: .*/a has colors", tmp_path / "a", trust=True, output="maps")
    other = Colors()
    other.factor.assign(3.0)
    save(other, tmp_path / "b")
    assert (
        opened(tmp_path / "b", trust=True).digest
        != found.digest
        == opened(tmp_path / "a", trust=True).digest
    )


def test_an_exported_keras_model_is_read_by_its_signature(tmp_path):
    model = two_headed()
    model.export(tmp_path / "a", verbose=False)
    found = opened(tmp_path / "a", trust=True, output="mean")
    np.testing.assert_allclose(found.call(RED), model(RED)["mean"], rtol=1e-5)
    assert found.image_size == 16


def test_models_of_other_inputs_are_refused(tmp_path):
    two_headed(channels=4).export(tmp_path / "grey", verbose=False)
    refused(
        r"grey: takes \[None, 16, 16, 4\] \(4 channels\)",
        tmp_path / "grey",
        output="mean",
        trust=True,
    )
    module = tf.Module()
    module.f = tf.function(
        lambda encoded: tf.strings.length(encoded),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    save(module, tmp_path / "strings", serving_default=module.f)
    refused("strings: takes string, not pixels", tmp_path / "strings", trust=True)


def test_damaged_ones_are_damaged(tmp_path):
    (tmp_path / "run").mkdir()
    refused("run: holds no saved_model.pb$", tmp_path / "run")
    (tmp_path / "run" / "saved_model.pb").write_bytes(b"nothing")
    refused("run: cannot be loaded", tmp_path / "run", CorruptArtifactError, trust=True)

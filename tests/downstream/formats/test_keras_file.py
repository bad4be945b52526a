"""A `.keras` file and its weights, as a program without this project reads them."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from trained_runs import SIZE, make_run

from ccssl_tf.downstream.exporting import export
from ccssl_tf.models import fcn
from ccssl_tf.models.backbone_file import save_model

LOAD = """
import sys, keras, numpy
model = keras.saving.load_model("model.keras")
outputs = model(numpy.load("pixels.npy"))
numpy.savez("outputs.npz", **{name: numpy.asarray(value) for name, value in outputs.items()})
model.set_weights([0 * weight for weight in model.get_weights()])
model.load_weights("model.weights.h5")
again = model(numpy.load("pixels.npy"))
assert all((again[name] == outputs[name]).numpy().all() for name in outputs)
assert not [name for name in sys.modules if name.startswith("ccssl_tf")]
"""


def test_both_are_read_without_this_project(tmp_path):
    backbone, classifier = make_run(tmp_path / "run", classes=5)
    export(tmp_path / "run", tmp_path / "out", format=("keras", "weights"))
    assert not (tmp_path / "out" / "saved_model").exists()
    pixels = np.random.default_rng(0).integers(0, 256, [3, SIZE, SIZE, 3], np.uint8)
    np.save(tmp_path / "out" / "pixels.npy", pixels)
    subprocess.run([sys.executable, "-c", LOAD], cwd=tmp_path / "out", env={"PATH": ""}, check=True)
    found = np.load(tmp_path / "out" / "outputs.npz")
    normalized = pixels.astype(np.float32) - np.array([123, 117, 104], np.float32)
    expected = dict(backbone(normalized, training=False), **classifier(normalized, training=False))
    expected["embedding"] = np.mean(expected["conv5"], axis=(1, 2))
    assert set(found) == set(expected)
    for name, value in expected.items():
        scale = np.abs(value).max()
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5 * scale, err_msg=name)


@pytest.mark.parametrize("fold", [True, False])
def test_batch_normalisation_is_merged_unless_told_not_to(tmp_path, fold):
    make_run(tmp_path / "run", classes=5)
    export(tmp_path / "run", tmp_path / "out", fold, format=("keras",))
    model = keras.saving.load_model(tmp_path / "out" / "model.keras")
    kept = [type(layer) for layer in model.layers].count(keras.layers.BatchNormalization)
    assert kept == (0 if fold else 5)


def test_a_segmenter_of_images_of_the_runs_size(tmp_path):
    backbone, _ = make_run(tmp_path / "run")
    segmenter = fcn.build_fcn(backbone, 4, fc_units=(8, 8))
    kernel = segmenter.get_layer("score").kernel
    kernel.assign(np.random.default_rng(0).normal(size=kernel.shape))
    save_model(segmenter, tmp_path / "run" / fcn.FILE_NAME)
    export(tmp_path / "run", tmp_path / "out", format=("keras",))
    model = keras.saving.load_model(tmp_path / "out" / "model.keras")
    pixels = np.random.default_rng(1).integers(0, 256, [2, SIZE, SIZE, 3]).astype(np.float32)
    logits = segmenter(backbone.normalize(pixels), training=False)["logits"]
    found = model(pixels)
    assert set(found) == {"logits"}
    np.testing.assert_allclose(found["logits"], logits, rtol=1e-3, atol=1e-4)

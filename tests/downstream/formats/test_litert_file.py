"""A LiteRT file gives the network's outputs for one image; in whole numbers, nearly."""

import json

import numpy as np
import pytest
import tensorflow as tf
from trained_runs import SIZE, make_run

from ccssl_tf.downstream.exporting import export
from ccssl_tf.downstream.formats import litert_file
from ccssl_tf.models import AlexNet, fcn
from ccssl_tf.models.backbone_file import save_model
from ccssl_tf.runs.errors import CorruptArtifactError

pytestmark = pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter:UserWarning")


def signature_of(out):
    return tf.lite.Interpreter(str(out / "model.tflite")).get_signature_runner("serve")


def entry_of(out):
    return json.loads((out / "export.json").read_text())["formats"]["litert"]


def pixels_of(side, seed=0):
    return np.random.default_rng(seed).integers(0, 256, [1, side, side, 3], np.uint8)


def test_outputs_by_name(tmp_path):
    backbone = AlexNet(width_multiplier=0.1, fc_units=(16, 12), image_size=99)
    _, classifier = make_run(tmp_path / "run", classes=5, backbone=backbone, image_size=99)
    export(tmp_path / "run", tmp_path / "out", format=("litert",))
    pixels = pixels_of(99).astype(np.float32)
    normalized = backbone.normalize(pixels)
    expected = dict(backbone(normalized, training=False), **classifier(normalized, training=False))
    found = signature_of(tmp_path / "out")(images=pixels)
    assert set(found) == {*expected, "embedding"} == set(entry_of(tmp_path / "out")["outputs"])
    for name, value in expected.items():
        scale = np.abs(value).max()
        np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-4 * scale, err_msg=name)


def test_a_segmenter(tmp_path):
    backbone, _ = make_run(tmp_path / "run")
    segmenter = fcn.build_fcn(backbone, 4, fc_units=(8, 8))
    kernel = segmenter.get_layer("score").kernel
    kernel.assign(np.random.default_rng(0).normal(size=kernel.shape))
    save_model(segmenter, tmp_path / "run" / fcn.FILE_NAME)
    export(tmp_path / "run", tmp_path / "out", format=("litert",))
    pixels = pixels_of(SIZE).astype(np.float32)
    logits = segmenter(backbone.normalize(pixels), training=False)["logits"]
    found = signature_of(tmp_path / "out")(images=pixels)
    assert set(found) == {"logits"}
    np.testing.assert_allclose(found["logits"], logits, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("normalization", ["batch_norm", "lrn"])
def test_whole_numbers(tmp_path, image_dir, normalization):
    backbone, classifier = make_run(tmp_path / "run", classes=5, normalization=normalization)
    quantized = dict(int8=True, calibration_data_dir=str(image_dir))
    export(tmp_path / "run", tmp_path / "out", format=("litert",), **quantized)
    signature, told = signature_of(tmp_path / "out"), entry_of(tmp_path / "out")
    given = signature.get_input_details()["images"]
    assert given["dtype"] == np.uint8 and given["quantization"] == (1.0, 0)
    assert told["quantization"] == "int8" and told["input"]["dtype"] == "uint8"
    details = tf.lite.Interpreter(str(tmp_path / "out" / "model.tflite")).get_tensor_details()
    assert sum(one["dtype"] == np.int8 for one in details) > 10
    pixels = pixels_of(SIZE)
    found = signature(images=pixels)["logits"]
    expected = classifier(backbone.normalize(pixels), training=False)["logits"]
    assert found.dtype == np.float32
    assert np.linalg.norm(found - expected) < 0.3 * np.linalg.norm(expected)
    check = told["check"]
    assert check["calibration_images"] == 48 and 0 <= check["top_1_agreement"] <= 1
    assert 0 < check["relative_errors"]["logits"] <= check["largest_difference"] < 0.3


def test_nonsense_is_not_published(tmp_path, image_dir, monkeypatch):
    make_run(tmp_path / "run", classes=5)
    monkeypatch.setattr(litert_file, "_NONSENSE", 1e-6)
    quantized = dict(int8=True, calibration_data_dir=str(image_dir))
    with pytest.raises(CorruptArtifactError, match="--int8: the quantised .* export without"):
        export(tmp_path / "run", tmp_path / "out", format=("npz", "litert"), **quantized)
    assert not list((tmp_path / "out").glob("model*"))

"""An ONNX graph gives the network's outputs; without its packages the format is refused."""

import json
import sys

import numpy as np
import pytest
from trained_runs import make_run

from ccssl_tf.downstream.exporting import export
from ccssl_tf.models import AlexNet
from ccssl_tf.runs.errors import InputError


def test_names_and_values_in_batches_of_any_size(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    backbone = AlexNet(width_multiplier=0.1, fc_units=(16, 12), image_size=99)
    _, classifier = make_run(tmp_path / "run", classes=5, backbone=backbone, image_size=99)
    export(tmp_path / "run", tmp_path / "out", format=("onnx",))
    session = onnxruntime.InferenceSession(
        str(tmp_path / "out" / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    assert [one.name for one in session.get_inputs()] == ["images"]
    names = [one.name for one in session.get_outputs()]
    told = json.loads((tmp_path / "out" / "export.json").read_text())["formats"]["onnx"]
    assert set(names) == set(told["outputs"])
    for batch_size in (1, 4):
        pixels = np.random.default_rng(batch_size).integers(0, 256, [batch_size, 99, 99, 3])
        pixels = pixels.astype(np.float32)
        found = dict(zip(names, session.run(None, dict(images=pixels)), strict=True))
        normalized = backbone.normalize(pixels)
        expected = dict(
            backbone(normalized, training=False), **classifier(normalized, training=False)
        )
        for name, value in expected.items():
            scale = np.abs(value).max()
            np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-4 * scale)


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    make_run(tmp_path / "run")
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(InputError, match=r"needs tf2onnx: pip install 'ccssl_tf\[onnx\]'$"):
        export(tmp_path / "run", tmp_path / "out", format=("onnx",))
    assert not (tmp_path / "out").exists()

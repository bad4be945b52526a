"""A SavedModel's entry in export.json has every signature."""

import json

import tensorflow as tf
from trained_runs import SIZE, make_run

from ccssl_tf.downstream.exporting import export
from ccssl_tf.downstream.formats.file_format import digest


def test_signatures_are_told_as_they_are(tmp_path):
    make_run(tmp_path / "run", classes=3)
    export(tmp_path / "run", tmp_path / "out")
    told = json.loads((tmp_path / "out" / "export.json").read_text())["formats"]["saved_model"]
    assert told["sha256"] == digest(tmp_path / "out" / told["file"])
    assert told["check"]["largest_difference"] <= told["check"]["tolerance"] == 1e-4
    loaded = tf.saved_model.load(str(tmp_path / "out" / told["file"]))
    assert set(told["signatures"]) == set(loaded.signatures) - {"serving_default"}
    for name, signature in told["signatures"].items():
        function = loaded.signatures[name]
        inputs = function.structured_input_signature[1]
        assert {key: list(spec.shape) for key, spec in inputs.items()} == signature["input"]
        assert {
            key: list(spec.shape) for key, spec in function.structured_outputs.items()
        }.keys() == signature["outputs"].keys()
    assert told["signatures"]["serve"]["input"] == dict(images=[None, SIZE, SIZE, 3])
    assert told["signatures"]["embedding"]["outputs"] == dict(embedding=[None, 24])

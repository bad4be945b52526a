"""A preset as KerasHub itself opens it, continues from it and writes it again."""

import json

import keras
import numpy as np
import pytest
from trained_runs import SIZE, make_run

from ccssl_tf.downstream.exporting import export


@pytest.fixture
def exported(tmp_path):
    backbone, _ = make_run(tmp_path / "run", classes=5)
    export(tmp_path / "run", tmp_path / "out", format=("keras_hub",))
    pixels = np.random.default_rng(0).integers(0, 256, [3, SIZE, SIZE, 3]).astype(np.float32)
    expected = backbone(backbone.normalize(pixels), training=False)["conv5"]
    return tmp_path / "out" / "preset", pixels, np.asarray(expected)


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


def test_the_directory_is_one_of_kerashubs_layout(exported):
    preset, pixels, expected = exported
    assert {path.name for path in preset.iterdir()} == {
        *("config.json", "model.weights.h5", "metadata.json"),
    }
    text = (preset / "config.json").read_text()
    assert json.loads(text)["registered_name"] == "Functional"
    assert "ccssl_tf" not in text and "build_config" not in text
    told = json.loads((preset.parent / "export.json").read_text())["formats"]["keras_hub"]
    assert told["file"] == "preset" and told["outputs"] == {"conv5": [None, *expected.shape[1:]]}
    facts = json.loads((preset / "metadata.json").read_text())
    model = keras.saving.deserialize_keras_object(json.loads(text))
    assert facts["parameter_count"] == model.count_params()


def test_kerashub_puts_a_head_on_it(exported, tmp_path):
    keras_hub = pytest.importorskip(
        "keras_hub", reason="KerasHub is not installed: pip install -e '.[hub]'"
    )
    preset, pixels, expected = exported
    classifier = keras_hub.models.ImageClassifier.from_preset(str(preset), num_classes=4)
    close(classifier.backbone(pixels, training=False), expected)
    assert classifier(pixels).shape == (3, 4)
    # What it writes has the files that ours has.
    classifier.save_to_preset(str(tmp_path / "again"))
    theirs = {path.name for path in (tmp_path / "again").iterdir()}
    assert {path.name for path in preset.iterdir()} < theirs
    again = keras_hub.models.ImageClassifier.from_preset(str(tmp_path / "again"))
    close(again(pixels, training=False), np.asarray(classifier(pixels, training=False)))
    with pytest.raises(ValueError, match="not a subclass of calling class `Backbone`"):
        keras_hub.models.Backbone.from_preset(str(preset))

"""The fully connected layers that an evaluation keeps."""

import importlib
import json

import numpy as np
import pytest

from ccssl_tf import load_backbone
from ccssl_tf.models import AlexNet
from ccssl_tf.models.backbone_file import load_model, save_backbone
from ccssl_tf.runs.launch import run_command

# `ccssl_tf.train` as an attribute is the function.
train = importlib.import_module("ccssl_tf.train")
SMALL = ["--backbone=alexnet", "--width_multiplier=0.05", "--batch_size=2", "--train_steps=1",
         "--learning_rate=1e-9", "--image_size=227"]  # fmt: skip


def command(*arguments):
    return run_command(train.COMMAND, train.main, [*SMALL, *arguments])


@pytest.fixture(scope="module", name="classifier")
def trained_classifier(tmp_path_factory):
    """A network with fully connected layers, as a supervised run leaves it."""
    directory = tmp_path_factory.mktemp("supervised")
    save_backbone(AlexNet(width_multiplier=0.05, fc_units=(11, 9), image_size=227), directory)
    return directory


def test_a_segmenter_keeps_them_as_convolutions(classifier, mask_dir, tmp_path):
    out = tmp_path / "fcn"
    flags = [f"--data_dir={mask_dir}", f"--workdir={out}", "--task=fcn", "--keep_fc"]
    assert command(*flags, f"--init_backbone={classifier}") == 0
    kernel = load_backbone(classifier).get_layer("fc6").kernel
    segmenter = load_model(out / "segmenter.keras")
    np.testing.assert_allclose(
        np.reshape(segmenter.get_layer("fc6").kernel, kernel.shape), kernel, atol=1e-6
    )
    assert segmenter.get_layer("fc7").kernel.shape == (1, 1, 11, 9)
    definition = json.loads((out / "metrics.json").read_text())["facts"]["definition"]
    assert "fully connected layers as in --init_backbone" in definition


def test_a_detector_keeps_them(classifier, objects_dir, tmp_path):
    out = tmp_path / "fast_rcnn"
    flags = [f"--data_dir={objects_dir}/images", f"--proposals_dir={objects_dir}/proposals",
             "--task=fast_rcnn", "--keep_fc", f"--workdir={out}", "--regions_per_image=8",
             "--detection_scales=64", "--detection_max_side=96", "--detection_test_scale=64",
             "--detection_test_max_side=96"]  # fmt: skip
    assert command(*flags, f"--init_backbone={classifier}") == 0
    detector, source = load_model(out / "detector.keras"), load_backbone(classifier)
    for name in ("fc6", "fc7"):
        theirs = source.get_layer(name).kernel
        np.testing.assert_allclose(detector.get_layer(name).kernel, theirs, atol=1e-6)


def test_there_must_be_some(mask_dir, tmp_path, capsys):
    flags = [f"--data_dir={mask_dir}", f"--workdir={tmp_path / 'w'}", "--task=fcn", "--keep_fc"]
    assert command(*flags) == 1
    assert "no --init_backbone=DIR has any" in capsys.readouterr().err
    save_backbone(AlexNet(width_multiplier=0.05, fc_units=()), tmp_path)
    assert command(*flags, f"--init_backbone={tmp_path}") == 2
    assert "has no fc6 to keep" in capsys.readouterr().err

"""Caffe's arrays of a run are read back by the importer, and by Caffe's rules."""

import json

import numpy as np
import pytest
from trained_runs import SIZE, make_run

from ccssl_tf.downstream.exporting import export
from ccssl_tf.models import VGG16, AlexNet, Application
from ccssl_tf.models.importers import import_backbone
from ccssl_tf.runs.errors import InputError


def test_a_folded_network_is_read_back(tmp_path):
    backbone, classifier = make_run(tmp_path / "run", classes=4)
    export(tmp_path / "run", tmp_path / "out", format=("npz",))
    config = {**backbone.get_config(), "normalization": "none"}
    imported = import_backbone(tmp_path / "out" / "model.npz", AlexNet, **config)
    pixels = np.random.default_rng(0).integers(0, 256, [2, SIZE, SIZE, 3], np.uint8)
    expected = backbone(backbone.normalize(pixels), training=False)
    found = imported(imported.normalize(pixels), training=False)
    for name, value in expected.items():
        scale = np.abs(value).max()
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5 * scale, err_msg=name)
    # The classes sit on a map of 2x2 cells, which Caffe flattens as C, h, w.
    blobs = np.load(tmp_path / "out" / "model.npz")
    maps = np.asarray(expected["conv5"]).reshape(2, 2, 2, 2, 2, -1).max(axis=(2, 4))
    logits = maps.transpose(0, 3, 1, 2).reshape(2, -1) @ blobs["logits/0"].T + blobs["logits/1"]
    told = classifier(backbone.normalize(pixels), training=False)["logits"]
    np.testing.assert_allclose(logits, told, rtol=1e-3, atol=1e-4 * np.abs(told).max())
    entry = json.loads((tmp_path / "out" / "export.json").read_text())["formats"]["npz"]
    assert entry["layers"] == ["conv1", "conv2", "conv3", "conv4", "conv5", "logits"]
    assert entry["input"]["channels"] == "BGR" and entry["input"]["mean"] == [104, 117, 123]


def refused(message, run, out, **options):
    with pytest.raises(InputError, match=message):
        export(run, out, format=("npz",), **options)
    assert not out.exists()


def test_networks_that_caffe_does_not_tell_are_refused(tmp_path):
    others = dict(
        mobile=Application(network="MobileNet", width_multiplier=0.25),
        gray=VGG16(width_multiplier=0.1, fc_units=(), colors="gray"),
    )
    for name, backbone in others.items():
        make_run(tmp_path / name, backbone=backbone)
    out = tmp_path / "out"
    refused("those of alexnet and vgg16, not of MobileNet", tmp_path / "mobile", out)
    refused("this network sees gray", tmp_path / "gray", out)
    make_run(tmp_path / "run")
    refused("leave --nofold_batch_norm out", tmp_path / "run", out, fold=False)

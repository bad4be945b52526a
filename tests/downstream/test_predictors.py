"""Detectors over proposals, and the flags by which features of new photos are made."""

import json

import numpy as np
import pytest
from conftest import write_objects

from ccssl_tf.data import records, voc_records
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.downstream.predictors import DetectorPredictor, extraction_flags, predictor_of
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.backbone_file import save_backbone, save_model
from ccssl_tf.models.fast_rcnn import FILE_NAME, build_fast_rcnn
from ccssl_tf.runs.errors import InputError


@pytest.fixture
def detector_run(tmp_path):
    """A finished run with an untrained detector of three classes."""
    run = tmp_path / "run"
    run.mkdir()
    backbone = AlexNet(stem="small", width_multiplier=0.05, fc_units=(), image_size=32)
    save_backbone(backbone, run)
    model = build_fast_rcnn(
        backbone,
        fc_units=(16, 16),
        dropout_rate=0.5,
        code_means=np.full([3, 4], 0.1),
        code_deviations=np.full([3, 4], 0.2),
    )
    for name in ("logits", "normalized_codes"):
        kernel = model.get_layer(name).kernel
        kernel.assign(np.random.default_rng(0).normal(0, 0.5, kernel.shape))
    save_model(model, run / FILE_NAME)
    (run / "flags.txt").write_text("--detection_test_scale=48\n--detection_test_max_side=96\n")
    facts = dict(class_names=["red", "green", "blue"])
    (run / "metrics.json").write_text(json.dumps(dict(facts=facts)))
    (run / "DONE").write_text("{}")
    return run


def test_detections_lie_in_their_photos_and_are_sorted(detector_run, tmp_path):
    predictor = predictor_of(detector_run, {})
    assert isinstance(predictor, DetectorPredictor) and predictor.needs_proposals
    (tmp_path / "proposals").mkdir()
    write_objects(tmp_path, dict(train=5), proposals_dir=tmp_path / "proposals")
    sizes = {}
    for shard in Manifest.read(tmp_path, "images").shards("train"):
        for serialized in records.read_shard(tmp_path / shard.name):
            parsed = voc_records.parse_voc_image(serialized)
            sizes[int(parsed["index"])] = int(parsed["width"]), int(parsed["height"])
    found = {}
    for index, (name, score, *corners) in predictor.rows(tmp_path, tmp_path / "proposals", 4):
        found.setdefault(index, []).append(float(score))
        assert name in ("red", "green", "blue")
        xmin, ymin, xmax, ymax = map(float, corners)
        width, height = sizes[index]
        assert 1 <= xmin <= xmax <= width and 1 <= ymin <= ymax <= height
    assert found.keys() == sizes.keys()
    for scores in found.values():
        assert len(scores) <= 4 and scores == sorted(scores, reverse=True)


def test_flags_of_an_extraction(tmp_path):
    features, run = tmp_path / "features", tmp_path / "run"
    features.mkdir()
    run.mkdir()
    (features / "flags.txt").write_text(
        "--extractor=hog\n--data_dir=old\n--split=train\n--workdir=features\n--seed=3\n"
    )
    record = dict(command=["x"], inputs=dict(features_dir=dict(path=str(features), fingerprint="")))
    (run / "run.json").write_text(json.dumps(record))
    assert extraction_flags(run) == ["--extractor=hog", "--seed=3"]
    (features / "flags.txt").write_text("--features_file=rows.npy\n")
    with pytest.raises(InputError, match="its features came from rows.npy; make those of the new"):
        extraction_flags(run)
    (features / "flags.txt").unlink()
    with pytest.raises(InputError, match="are no longer in .*features"):
        extraction_flags(run)

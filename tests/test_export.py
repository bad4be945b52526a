"""The command: what it refuses, says and leaves; what is in a SavedModel is tested in
test_exported.
"""

import importlib
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import CLASS_NAMES, flag_words
from PIL import Image
from trained_runs import make_run

from ccssl_tf.data import image_ops, records
from ccssl_tf.downstream.exporting import export
from ccssl_tf.downstream.formats import FORMATS
from ccssl_tf.downstream.formats.file_format import digest
from ccssl_tf.downstream.formats.keras_file import KerasFile
from ccssl_tf.models import fast_rcnn
from ccssl_tf.models.backbone_file import load_backbone, load_model, save_model
from ccssl_tf.models.heads import build_classifier
from ccssl_tf.runs.errors import CorruptArtifactError, FlagError, InputError

export_command = importlib.import_module("ccssl_tf.export")


@pytest.fixture
def run(tmp_path):
    """A finished run with a tiny backbone."""
    path = tmp_path / "run"
    make_run(path, width_multiplier=0.05)
    return path


def command(**values):
    export_command.main(export_command.COMMAND.parse(flag_words(**values)))


def test_both_directories_are_needed(run):
    with pytest.raises(FlagError, match="set --run and --output_dir"):
        command()
    with pytest.raises(FlagError, match="--output_dir: not given"):
        command(run=run)


def test_a_dry_run_tells_and_writes_nothing(run, tmp_path, capsys):
    command(run=run, output_dir=tmp_path / "out", dry_run=True)
    assert "would export conv1, conv2, conv3, conv4, conv5 of" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(InputError, match="something else"):
        command(run=run, output_dir=tmp_path, dry_run=True)


def test_a_finished_export_is_left_alone_and_other_directories_are_refused(run, tmp_path, capsys):
    command(run=run, output_dir=tmp_path / "out")
    written = (tmp_path / "out" / "export.json").stat().st_mtime_ns
    assert "saved" in capsys.readouterr().out
    command(run=run, output_dir=tmp_path / "out")
    assert "already complete" in capsys.readouterr().out
    assert (tmp_path / "out" / "export.json").stat().st_mtime_ns == written
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("")
    with pytest.raises(InputError, match="already holds something else"):
        export(run, tmp_path / "other")


def test_a_call_records_what_it_did(run, tmp_path):
    export(run, tmp_path / "out", fold=False)
    assert "--nofold_batch_norm" in (tmp_path / "out" / "flags.txt").read_text().splitlines()
    with pytest.raises(InputError, match="--nofold_batch_norm, not --fold_batch_norm"):
        export(run, tmp_path / "out", fold=True)
    command(run=run, output_dir=tmp_path / "out", fold_batch_norm=False)


def test_all_formats_of_one_run(tmp_path, image_dir, capsys):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    make_run(tmp_path / "run", classes=3, data_dir=image_dir)
    command(run=tmp_path / "run", output_dir=tmp_path / "out", format=",".join(FORMATS))
    told = json.loads((tmp_path / "out" / "export.json").read_text())
    assert told["class_names"] == CLASS_NAMES and set(told["formats"]) == set(FORMATS)
    printed = capsys.readouterr().out
    for name, entry in told["formats"].items():
        file = tmp_path / "out" / entry["file"]
        assert entry["sha256"] == digest(file) and str(file) in printed
        assert 0 <= entry["check"]["largest_difference"] <= entry["check"]["tolerance"] == 1e-4
        assert entry["input"]["range"] == [0, 255], name
    assert not list((tmp_path / "out").glob("*.tmp-*"))
    assert "formats" not in json.loads((tmp_path / "out" / "metrics.json").read_text())
    with pytest.raises(InputError, match="already holds a run with --format="):
        command(run=tmp_path / "run", output_dir=tmp_path / "out", format="keras")


def test_names_of_other_classes_are_left_out(tmp_path, image_dir):
    make_run(tmp_path / "run", classes=4, data_dir=image_dir)
    command(run=tmp_path / "run", output_dir=tmp_path / "out", format="npz")
    assert "class_names" not in json.loads((tmp_path / "out" / "export.json").read_text())


def test_where_one_format_differs_none_is_there(run, tmp_path, monkeypatch):
    def write_another(self, path):
        model = keras.models.clone_model(self.model)
        model.set_weights([weight + 0.01 for weight in self.model.get_weights()])
        model.save(path)

    monkeypatch.setattr(KerasFile, "write", write_another)
    with pytest.raises(CorruptArtifactError, match="--format=keras: the exported conv1 differs"):
        command(run=run, output_dir=tmp_path / "out", format="saved_model,npz,keras")
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left <= {"flags.txt", "run.json", ".lock", ".holder"}


@pytest.mark.parametrize(
    "flags, message",
    [
        (dict(format="caffe"), "--format=caffe: must be one of saved_model, litert, onnx, keras"),
        (dict(format="keras,keras"), "--format=keras,keras: expected some of .* each once"),
        (dict(int8=True, calibration_data_dir="x"), "--int8: is of --format=litert, not of saved_"),
        (dict(format="litert", int8=True), "--int8 and --calibration_data_dir go together"),
        (dict(format="litert", calibration_data_dir="x"), "give both or neither"),
    ],
)
def test_flags_that_do_not_go_together(run, tmp_path, flags, message):
    with pytest.raises(FlagError, match=message):
        command(run=run, output_dir=tmp_path / "out", **flags)


def test_a_detector_is_a_saved_model_only(run, tmp_path):
    backbone = load_backbone(run)
    sizes = dict(fc_units=(8, 8), dropout_rate=0.5)
    codes = dict(code_means=np.zeros([2, 4]), code_deviations=np.ones([2, 4]))
    save_model(fast_rcnn.build_fast_rcnn(backbone, **sizes, **codes), run / fast_rcnn.FILE_NAME)
    (run / "metrics.json").write_text(json.dumps(dict(facts=dict(class_names=["a", "b"]))))
    for dry_run in (True, False):
        with pytest.raises(InputError, match="--format=keras: a detector is exported as saved_mod"):
            command(run=run, output_dir=tmp_path / "out", format="keras", dry_run=dry_run)
    assert not (tmp_path / "out").exists()


def test_another_classifier_on_the_same_backbone_is_not_taken_for_the_exported_one(run, tmp_path):
    """As --freeze=fc8 trains it: the fingerprint of the run is that of its backbone."""
    for seed in (0, 1):
        keras.utils.set_random_seed(seed)
        save_model(build_classifier(load_backbone(run), 3, 32), run / "classifier.keras")
        if not seed:
            export(run, tmp_path / "out")
            export(run, tmp_path / "out")
    with pytest.raises(InputError, match="was made from another --classifier"):
        export(run, tmp_path / "out")


def _trained(task, *arguments, workdir):
    sizes = [
        "--image_size=32",
        "--width_multiplier=0.05",
        "--batch_size=8",
        "--train_steps=2",
        "--fc_units=8,8",
        "--optimizer=adam",
    ]
    command = [
        sys.executable,
        "-m",
        "ccssl_tf.train",
        f"--task={task}",
        *arguments,
        *sizes,
        "--learning_rate=0.01",
        f"--workdir={workdir}",
    ]
    subprocess.run(command, check=True, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize("long_side", [0, 40])
def test_an_exported_run_of_fcn_has_the_classes_its_evaluation_wrote(mask_dir, tmp_path, long_side):
    _trained(
        "fcn", f"--data_dir={mask_dir}", f"--fcn_long_side={long_side}", workdir=tmp_path / "run"
    )
    export(tmp_path / "run", tmp_path / "out")
    loaded, differ = tf.saved_model.load(str(tmp_path / "out" / "saved_model")), 0
    for one in records.read_shard(mask_dir / "val-00000-of-00001.tfrecord"):
        parsed = records.parse_image(one)
        written = np.asarray(
            Image.open(tmp_path / "run" / "predictions" / f"val_{int(parsed['index']):03d}.png")
        )
        logits = tf.image.resize(
            loaded.serve_jpeg(parsed["encoded"][None])["logits"], written.shape
        )
        differ += (tf.argmax(logits, -1)[0].numpy() != written).mean() / 5
    assert differ < 0.001


@pytest.mark.slow
def test_an_exported_run_of_classification_has_the_logits_of_its_network(voc_dir, tmp_path):
    _trained(
        "voc07_classification",
        f"--data_dir={voc_dir}",
        "--random_crops=1",
        workdir=tmp_path / "run",
    )
    export(tmp_path / "run", tmp_path / "out")
    loaded, trained = (
        tf.saved_model.load(str(tmp_path / "out" / "saved_model")),
        load_model(tmp_path / "run" / "classifier.keras"),
    )
    encoded = [
        records.parse_image(one)["encoded"]
        for one in records.read_shard(voc_dir / "test-00000-of-00001.tfrecord")
    ]
    images = tf.stack([image_ops.evaluation_crop(one, 32) for one in encoded])
    expected = trained(load_backbone(tmp_path / "run").normalize(images), training=False)["logits"]
    assert expected.shape == (10, 4) and np.ptp(expected, axis=0).min() > 0
    np.testing.assert_allclose(
        loaded.serve_jpeg(tf.stack(encoded))["logits"], expected, rtol=1e-3, atol=1e-4
    )
    np.testing.assert_allclose(loaded.serve(images)["logits"], expected, rtol=1e-3, atol=1e-4)

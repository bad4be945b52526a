"""The classes of a run are those it says, or else those of the images it learned from."""

import json

import pytest
from conftest import CLASS_NAMES
from trained_runs import make_run

from ccssl_tf.downstream.finished_run import class_names_of, finished
from ccssl_tf.runs.errors import InputError


def test_names_of_classes(tmp_path, image_dir):
    run = tmp_path / "run"
    make_run(run, data_dir=image_dir)
    assert class_names_of(run) == CLASS_NAMES
    (run / "flags.txt").write_text("--task=cluster_classification\n")
    assert class_names_of(run) == []
    (run / "metrics.json").write_text(json.dumps(dict(facts=dict(class_names=["a", "b"]))))
    assert class_names_of(run) == ["a", "b"]


def test_images_that_have_gone(tmp_path):
    make_run(tmp_path / "run", data_dir=tmp_path / "gone")
    assert class_names_of(tmp_path / "run") == []


def test_a_run_that_has_not_ended(tmp_path):
    make_run(tmp_path / "run")
    assert finished(str(tmp_path / "run")) == tmp_path / "run"
    (tmp_path / "run" / "DONE").unlink()
    with pytest.raises(InputError, match="no finished run there"):
        finished(tmp_path / "run")

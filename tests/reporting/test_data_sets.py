"""Images are counted and named by their manifest, and nothing fails where it is gone."""

import json

import pytest

from ccssl_tf.data.manifest import Manifest
from ccssl_tf.reporting.data_sets import data_set_name, held_out_count, image_counts
from ccssl_tf.reporting.runs import RunSet


@pytest.fixture
def probe(runs, image_dir):
    """A probe of the images in `image_dir`: returns the runs and it."""

    def write(evaluation=None, **facts):
        runs.add(
            "probe",
            "ccssl_tf.train --task=linear_probe",
            inputs=dict(data_dir="data"),
            metrics=dict(evaluation=evaluation or {"accuracy/conv1": 0.5}, facts=facts),
        )
        path = runs.root / "probe/run.json"
        record = json.loads(path.read_text())
        fingerprint = Manifest.read(image_dir, "images").fingerprint()
        record["inputs"]["data_dir"] = dict(path=str(image_dir), fingerprint=fingerprint)
        path.write_text(json.dumps(record))
        run_set = RunSet(runs.root)
        return run_set, run_set.named("probe")

    return write


def test_images_have_a_name_and_a_number(probe):
    runs, run = probe()
    assert data_set_name(runs, run.inputs["data_dir"]) == "generated"
    assert image_counts(runs, run) == dict(train=48, val=16)
    assert held_out_count(runs, run) == 16


def test_a_run_says_what_it_held_out(probe):
    assert held_out_count(*probe(splits=dict(evaluation="train"))) == 48


def test_only_accuracies_are_of_so_many_images(probe):
    assert held_out_count(*probe(evaluation=dict(loss=1.0))) is None


def test_images_that_are_gone_have_the_name_of_their_directory(runs):
    runs.probe("probe", [0.3])
    run_set = RunSet(runs.root)
    run = run_set.named("probe")
    assert data_set_name(run_set, run.inputs["data_dir"]) == "data"
    assert image_counts(run_set, run) == {} and held_out_count(run_set, run) is None

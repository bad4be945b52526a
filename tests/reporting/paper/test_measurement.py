"""Runs are found by their paths, grouped by stage and seed, and tell nothing of the machine."""

import json

import pytest

from ccssl_tf.reporting.paper.measurement import measure, stage_at
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.runs.errors import CorruptArtifactError, InputError
from ccssl_tf.runs.files import fingerprint_of

VALUES = [0.2, 0.3, 0.31, 0.33, 0.28]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("imagenet_probe/cc_jigsaw_pp", ("imagenet_probe/cc_jigsaw_pp", None)),
        ("a/seed12/b/frozen_fc6/random", ("frozen_fc6/random", 12)),
        ("seed1/seed2/train/cc_hog", ("train/cc_hog", 2)),
        ("clusters/jigsaw_pp_k500", ("clusters/jigsaw_pp_k500", None)),
        ("imagenet_knn/random", ("imagenet_knn/random", None)),
        ("seed1/data/imagenet", None),
        ("features/jigsaw_pp/train", None),
        ("train", None),
        ("seeds1/report", None),
    ],
)
def test_stages_are_the_ends_of_paths(name, place):
    assert stage_at(name) == place


def test_a_run_is_measured(runs, probe_run):
    probe_run("seed3/imagenet_probe/cc_hog", VALUES, outcomes=True, init="seed3/train/cc_hog")
    runs.add("seed3/data/imagenet", "data_prep.imagenet", output="manifest.json")
    (found,) = measure(RunSet(runs.root))
    assert (found.stage, found.seed, found.count) == ("imagenet_probe/cc_hog", 3, 1000)
    assert found.metrics["evaluation.accuracy/conv2"] == 0.3 and found.metrics["step"] == 100
    assert found.metrics["facts.chance"] == 0.1
    assert found.outcomes.correct("conv4").sum() == 330
    assert found.inputs == {"init_backbone": "train/cc_hog"}
    assert found.commit is None and found.saturation is None
    assert found.data == fingerprint_of("data")


def test_history_texts_and_what_is_not_finite_are_no_numbers(runs):
    metrics = dict(
        task="fcn",
        done=True,
        evaluation=dict(mean_iou=0.4, loss=float("nan")),
        facts=dict(iou=dict(cat=0.5, dog=None), names=["cat"]),
        history=dict(train=[dict(step=1)], more=dict(loss=3.0)),
    )
    runs.add("segmentation/random", "ccssl_tf.train --task=fcn", metrics=metrics)
    (found,) = measure(RunSet(runs.root))
    assert found.metrics == {"evaluation.mean_iou": 0.4, "facts.iou.cat": 0.5}


def test_seeds_differ_in_no_flags_and_other_settings_do(probe_run, runs):
    for seed in (0, 1):
        probe_run(f"seed{seed}/imagenet_probe/random", VALUES, seed=seed)
    probe_run("seed2/imagenet_probe/random", VALUES, seed=2, train_steps="7")
    first, second, third = measure(RunSet(runs.root))
    assert first.flags == second.flags != third.flags


def test_the_seed_is_the_flags_where_the_path_has_none(probe_run, runs):
    probe_run("imagenet_probe/random", VALUES, seed=5)
    assert measure(RunSet(runs.root))[0].seed == 5


def test_two_runs_of_a_stage_and_seed_are_refused(probe_run, runs):
    for study in "ab":
        probe_run(f"{study}/imagenet_probe/random", VALUES)
    with pytest.raises(InputError, match="b/imagenet_probe/random: is imagenet_probe/random of"):
        measure(RunSet(runs.root))


def test_the_number_of_images_is_that_of_the_manifest(probe_run, runs, image_dir):
    probe_run("imagenet_probe/random", VALUES)
    path = runs.root / "imagenet_probe/random/run.json"
    record = json.loads(path.read_text())
    record["inputs"]["data_dir"]["path"] = str(image_dir)
    record["commit"] = "abc123"
    path.write_text(json.dumps(record))
    (found,) = measure(RunSet(runs.root))
    assert found.count == 16 and found.commit == "abc123"


def test_the_commit_and_the_saturation_are_told_where_they_are_known(probe_run, runs):
    probe_run("train/cc_hog", VALUES)
    asked = []
    found = measure(RunSet(runs.root), lambda *where: asked.append(where) or 0.25)
    assert found[0].saturation == 0.25 and asked == [("train/cc_hog", runs.root / "train/cc_hog")]


def test_unfinished_runs_are_left_out(probe_run, runs):
    probe_run("imagenet_probe/random", VALUES)
    runs.add("imagenet_probe/cc_hog", "ccssl_tf.train --task=linear_probe", done=False)
    assert [found.stage for found in measure(RunSet(runs.root))] == ["imagenet_probe/random"]


def test_outcomes_of_other_numbers_are_refused(probe_run, runs):
    probe_run("imagenet_probe/random", VALUES, outcomes=True)
    path = runs.root / "imagenet_probe/random/metrics.json"
    path.write_text(path.read_text().replace("0.31", "0.35"))
    with pytest.raises(CorruptArtifactError, match=r"outcomes\.npz: 310 of 1000 answers of conv3"):
        measure(RunSet(runs.root))

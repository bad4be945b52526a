"""A run knows its task, its seed, its chance level and its pictures from its files."""

import pytest

from ccssl_tf.reporting.runs import RunSet


def only_run(runs):
    (run,) = RunSet(runs.root).runs
    return run


def test_a_training_run(runs):
    runs.add("a", "ccssl_tf.train --task=linear_probe", flags=dict(seed="3"))
    run = only_run(runs)
    assert (run.module, run.task, run.seed, run.finished) == (
        "ccssl_tf.train",
        "linear_probe",
        3,
        True,
    )
    assert run.is_evaluation and run.history == {} and run.definition is None


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("ccssl_tf.train --task=fcn", True),
        ("ccssl_tf.train --task=jigsaw_pp", False),
        ("ccssl_tf.cluster --task=fcn", False),
    ],
)
def test_evaluations(runs, command, expected):
    runs.add("a", command)
    assert only_run(runs).is_evaluation == expected


@pytest.mark.parametrize(
    ("chance", "expected"),
    [
        (0.25, 0.25),
        (None, None),
        (dict(train=0.1, val=0.2), 0.2),
        (dict(mean_iou=0.03, pixel_accuracy=0.7), 0.03),
        ({}, None),
    ],
)
def test_chance_is_that_of_the_held_out_images(runs, chance, expected):
    runs.add("a", "ccssl_tf.train --task=x", metrics=dict(facts=dict(chance=chance)))
    assert only_run(runs).chance == expected


def test_the_day_it_ended(runs):
    runs.add("a", "ccssl_tf.train --task=x")
    assert only_run(runs).date is None
    (runs.root / "a/timing.json").write_text('{"finished": "2018-06-18T12:34:56Z"}')
    assert only_run(runs).date == "2018-06-18"


def test_filters_are_no_example(runs):
    runs.add("a", "ccssl_tf.train --task=x", pictures=["b", "conv1_filters", "a"])
    run = only_run(runs)
    assert list(run.pictures) == ["a", "b"]
    assert run.picture("conv1_filters").is_file() and run.picture("c") is None

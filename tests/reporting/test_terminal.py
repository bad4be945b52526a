"""The tables for terminals show the numbers in straight columns."""

from ccssl_tf.reporting import terminal
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.reporting.summary import summarise


def test_probes_over_seeds(runs):
    runs.method("seed0/", seed=0)
    runs.method("seed1/", seed=1, shift=0.05)
    lines = terminal.format_probe_tables(summarise(RunSet(runs.root))).splitlines()
    assert (
        lines[0] == "linear_probe: accuracy on held-out images in %, mean (min-max) of seeds 0, 1"
    )
    assert lines[1].split() == ["conv1", "conv2", "conv3", "conv4", "conv5"]
    assert lines[4].split()[:3] == ["CC+Jigsaw++", "28.0", "(28.0-28.0)"]
    assert "38.5 (36.0-41.0)" in lines[4]
    assert len({len(line) for line in lines[1:]}) == 1


def test_runs_without_probes_make_no_table(runs):
    runs.add("data", "data_prep.shapes --output_dir=data", output="manifest.json")
    assert terminal.format_probe_tables(summarise(RunSet(runs.root))) == ""


def test_other_evaluations_have_tables_of_their_own(runs):
    runs.method()
    for name, init, value in (("voc_random", None, 0.4), ("voc_cc", "cc", 0.6)):
        evaluation = dict(mean_average_precision=value, mean_average_precision_step=value - 0.01)
        runs.add(
            name,
            f"ccssl_tf.train --task=voc07_classification --workdir={name}",
            inputs=dict(data_dir="data") | (dict(init_backbone=init) if init else {}),
            metrics=dict(evaluation=evaluation | {"average_precision/cat": 0.1}),
            output="backbone.json",
        )
    tables = terminal.format_probe_tables(summarise(RunSet(runs.root)))
    lines = tables.split("voc07_classification")[1].splitlines()
    assert lines[0] == ": mean average precision in %, seed 0"
    assert lines[1].split() == ["mAP", "mAP", "step"]
    assert lines[3].split() == ["CC+Jigsaw++", "60.0", "59.0"]


def test_the_overview_for_terminals_has_straight_columns(students):
    summary = summarise(students(100, 7))
    lines = terminal.format_overview(summary).splitlines()
    assert len(lines) == 2 + 3 and lines[0].startswith("transfers: ")
    assert {line.index("Jigsaw++", 20) for line in lines[2:]} == {lines[1].index("teacher")}


def test_one_student_needs_no_overview(runs):
    runs.method()
    summary = summarise(RunSet(runs.root))
    assert terminal.format_overview(summary) == "" and len(summary["transfers"]) == 1

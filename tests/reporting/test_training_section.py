"""Training: one row for each network, then curves, note and examples of each task."""

from ccssl_tf.reporting import training_section
from ccssl_tf.reporting.elements import Cell
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.reporting.summary import summarise


def section_of(runs, **curves):
    run_set = RunSet(runs.root)
    return training_section.section(run_set, summarise(run_set), dict(curves=curves))


def test_a_row_for_each_network(runs):
    runs.method()
    section = section_of(runs, jigsaw_pp=b"\x89PNG")
    first = section["table"].rows[0]
    assert first[0] == Cell(("Jigsaw++",), ("Jigsaw++",)) and not any(cell.strong for cell in first)
    assert [cell.lines[0] for cell in first[1:]] == [
        "alexnet",
        "200",
        "17.3",
        "-",
        "1.0%",
        "3.200",
        "1.23 M",
        "12 s",
    ]
    assert [(task["name"], bool(task["curves"])) for task in section["tasks"]] == [
        ("Jigsaw++", True),
        ("Cluster classification", False),
    ]


def test_what_any_task_drew_is_shown_once(runs):
    for seed in (0, 1):
        runs.add(
            f"own{seed}",
            f"ccssl_tf.train --task=my_own --backbone=alexnet --seed={seed}",
            output="backbone.json",
            pictures=["riddle"],
            metrics=dict(evaluation=dict(accuracy=0.5)),
        )
    (task,) = section_of(runs)["tasks"]
    assert [figure.alternative for figure in task["examples"]] == ["Riddle: Training of My own"]
    assert task["examples"][0].caption[0].endswith("Training of My own.")


def test_nothing_was_trained(runs):
    runs.probe("probe", [0.3])
    assert section_of(runs) is None

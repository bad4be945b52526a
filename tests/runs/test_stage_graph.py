"""The stages of a pipeline as a graph."""

import pytest

from ccssl_tf.runs import command_lines, stage_graph
from ccssl_tf.runs.errors import InputError

TEMPLATES = [
    "ccssl_tf.report --runs={workdir} --output_dir={workdir}/report",
    "ccssl_tf.train --task=linear_probe --data_dir={workdir}/data "
    "--init_backbone={workdir}/train/a/backbone.keras --workdir={workdir}/probe/a",
    "ccssl_tf.train --task=rotation --data_dir={workdir}/data --workdir={workdir}/train/a",
    "ccssl_tf.train --task=rotation --data_dir={workdir}/data --workdir={workdir}/train/ab",
    "data_prep.shapes --output_dir={workdir}/data",
]


def parsed(templates=TEMPLATES):
    return [command_lines.parse(text, workdir="w", seed=0) for text in templates]


def names(stages):
    return [stage.name for stage in stages]


def test_inputs_are_what_the_flags_name():
    report, probe, teacher, other, data = stages = parsed()
    assert names(stage_graph.inputs_of(probe, stages)) == ["train/a", "data"]
    assert names(stage_graph.inputs_of(teacher, stages)) == ["data"]
    assert stage_graph.inputs_of(data, stages) == []
    assert names(stage_graph.inputs_of(report, stages)) == names(stages[1:])


def test_what_is_read_comes_first_and_nothing_twice():
    ordered = stage_graph.in_order(parsed(TEMPLATES + TEMPLATES))
    assert names(ordered) == ["data", "train/a", "probe/a", "train/ab", "report"]
    with pytest.raises(InputError, match="w/data: two commands of the pipeline write there"):
        stage_graph.in_order(parsed([*TEMPLATES, TEMPLATES[-1] + " --seed=3"]))
    circle = [
        f"ccssl_tf.train --init_backbone={{workdir}}/{one} --workdir={{workdir}}/{other}"
        for one, other in ("ab", "ba")
    ]
    with pytest.raises(InputError, match="wait for each other: b, a"):
        stage_graph.in_order(parsed(circle))


def test_some_stages_are_selected():
    ordered = stage_graph.in_order(parsed())
    assert names(stage_graph.selected(ordered, [], ["probe/a"])) == ["data", "train/a", "probe/a"]
    assert names(stage_graph.selected(ordered, ["probe/a", "data/"], [])) == ["data", "probe/a"]
    assert stage_graph.selected(ordered, [], []) == ordered
    with pytest.raises(InputError, match="--until=probe: no stage .* there are data, train/a"):
        stage_graph.selected(ordered, [], ["probe"])


def test_definitions_are_spelled_out():
    spelled = command_lines.spelled_out(
        ["a {workdir} {x}", "b", "c {x} {y} {x}"], ["x=0", "x=1,2", "y=p,q"]
    )
    assert spelled == [
        "a {workdir} 1", "a {workdir} 2", "b", "c 1 p 1", "c 1 q 1", "c 2 p 2", "c 2 q 2"
    ]  # fmt: skip
    with pytest.raises(InputError, match="no command of this pipeline has {w}"):
        command_lines.spelled_out(["a {x}"], ["x=1", "w=2"])
    for wrong in ("workdir=x", "x", "X=1", "x="):
        with pytest.raises(InputError, match="--define="):
            command_lines.spelled_out([], [wrong])

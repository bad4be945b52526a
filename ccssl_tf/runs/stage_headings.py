"""What the stages of a pipeline do, in words, and the file with their commands in full."""

import os
import pathlib
from collections.abc import Sequence

from ccssl_tf.runs import stage_graph, stage_work
from ccssl_tf.runs.command_lines import Stage
from ccssl_tf.runs.files import write_bytes
from ccssl_tf.runs.run_record import format_command

COMMANDS_NAME = "commands.txt"


def heading(stage: Stage, stages: Sequence[Stage]) -> str:
    """Returns e.g. "jigsaw_pp - train alexnet on jigsaw_pp, 400 steps of 64 images".

    Args:
      stage: one of `stages`.
      stages: all of a pipeline; where it has several seeds the name says which.
    """
    several = len({os.path.normpath(other.root) for other in stages}) > 1
    name = f"{pathlib.Path(stage.root).name}/{stage.name}" if several else stage.name
    return f"{name} - {in_words(stage, stages)}"


def in_words(stage: Stage, stages: Sequence[Stage]) -> str:
    """Returns what a stage does; other stages that it reads are called by their names."""
    package, _, command = stage.module.rpartition(".")
    if command == "train":
        return _training(stage, stages)
    if command == "extract":
        source = _named(stage, stages, "init_backbone", "model", "extractor")
        split = stage.flag("split")
        features = f"{stage.flag('endpoint') or ''} features".lstrip()
        return f"{features} of {source or 'a network'}{f', split {split}' if split else ''}"
    if command == "cluster":
        count = stage.flag("num_clusters")
        into = f" into {count}" if count and count != "0" else ""
        return f"cluster {_named(stage, stages, 'features_dir')}{into}"
    if package == "data_prep":
        source = stage.flag("source")
        return f"prepare images with {stage.module}{f' from {source}' if source else ''}"
    source = _named(stage, stages, "run", "runs", "features_dir", "init_backbone", "data_dir")
    if source in (stage.root, ""):
        source = "all of it"
    of = "on" if command == "report" else "of"
    return f"{command.replace('_', ' ')} {of} {source}"


def _training(stage, stages):
    task, start = stage.flag("task") or "a task", _named(stage, stages, "init_backbone")
    if task.endswith("_probe"):
        what = f"{task.replace('_', ' ')} of {start or 'random weights'}"
    else:
        what = f"train {stage.flag('backbone') or 'a network'} on {task}"
        what += f", starting from {start}" if start else ""
    labels = _named(stage, stages, "pseudo_labels")
    what += f", labels of {labels}" if labels else ""
    work = stage_work.in_words(stage)
    return f"{what}, {work}" if work else what


def _named(stage, stages, *flags):
    """The stage in which the first of these flags that is given points, or its value; else ""."""
    value = next((value for name in flags if (value := stage.flag(name))), "")
    inside = [other for other in stage_graph.inputs_of(stage, stages) if _is_in(value, other)]
    return inside[0].name if inside else value


def _is_in(path, stage):
    return pathlib.Path(path).is_relative_to(stage.directory)


def write_commands(workdir: pathlib.Path, stages: Sequence[Stage]) -> pathlib.Path:
    """Writes `workdir/commands.txt`, a shell script of all stages; returns its path."""
    lines = [
        f"# [{number}/{len(stages)}] {heading(stage, stages)}\n{format_command(stage.line)}\n"
        for number, stage in enumerate(stages, start=1)
    ]
    write_bytes(workdir / COMMANDS_NAME, "\n".join(lines).encode())
    return workdir / COMMANDS_NAME

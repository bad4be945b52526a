r"""Runs a list of commands, skipping the finished ones whose inputs have not changed.

python -m ccssl_tf.pipeline --flagfile=experiments/quickstart.flags
python -m ccssl_tf.pipeline --flagfile=experiments/quickstart.flags --images=DIR \
    the same on your own photos
python -m ccssl_tf.pipeline --flagfile=experiments/quickstart.flags \
    --sweep=num_clusters=50,100,200      some stages for several values
python -m ccssl_tf.pipeline --flagfile=experiments/quickstart.flags \
    --until=clusters                     one stage and all that it reads

Interrupted, the same command continues it. Every stage is told by a line of what it does; the
commands in full are in WORKDIR/commands.txt, and --dry_run prints them. After a stage it says how
long those left will take which are like others that are done (a stage of another seed, the probe of
another network), and of how many that is not known.
"""

import dataclasses
import os
import pathlib
import sys
import time

from ccssl_tf.reporting import terminal
from ccssl_tf.runs import (
    command_lines,
    shipped,
    stage_changes,
    stage_costs,
    stage_graph,
    stage_headings,
    stage_work,
)
from ccssl_tf.runs.command import Command
from ccssl_tf.runs.command_lines import Stage
from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.json_files import read_json
from ccssl_tf.runs.launch import launch
from ccssl_tf.runs.lock import locked
from ccssl_tf.runs.progress import hours
from ccssl_tf.runs.run_record import command_has_started, command_is_done, format_command
from ccssl_tf.runs.settings import CommandSettings, SeedSettings, setting
from ccssl_tf.runs.stages import run_all
from ccssl_tf.runs.workdir import check_place


@dataclasses.dataclass(frozen=True, kw_only=True)
class PipelineSettings(CommandSettings, SeedSettings):
    """This command."""

    command: tuple[str, ...] = setting(
        (),
        "A command as typed after `python -m`. {workdir} and {seed} are filled in; a leading "
        "[labels] marks one to leave out when its --data_dir turns out to have no labels. Its "
        "directory below --workdir is the stage's name.",
        repeated=True,
    )
    define: tuple[str, ...] = setting(
        (),
        "NAME=value,value,...: {NAME} in commands stands for the value; a command whose name has "
        "several is run with each. Of the same name the last one counts.",
        repeated=True,
    )
    workdir: str = setting(
        "runs/pipeline",
        "Directory under which every stage gets its own; {workdir} in commands.",
    )
    images: str | None = setting(
        None, "Folder of your own images, used instead of the data set the first command makes."
    )
    seeds: tuple[int, ...] = setting(
        (),
        "Seeds, e.g. 0,1,2: runs the list once for each, in --workdir/seed0, ..., then reports "
        "over all.",
        minimum=0,
        maximum=2**31 - 1,
    )
    sweep: str | None = setting(
        None,
        "[STAGE:]name=value,value,...: runs the commands that depend on this flag once for each "
        "value, in --workdir/name_value, the others once; a report compares them.",
    )
    only: tuple[str, ...] = setting(
        (),
        "Names of the only stages to run, * for any letters; what they read must be there. With "
        "--until: names of stages to run besides.",
    )
    until: tuple[str, ...] = setting(
        (),
        "Names of stages to run with all that they read, directly or not, * for any letters; the "
        "others are left out.",
    )
    side_by_side: int = setting(
        1,
        "Stages that may run at the same time, each on its share of the GPUs (8 on 8 GPUs: one "
        "each); their output goes to WORKDIR/logs.",
        minimum=1,
    )
    costs: tuple[str, ...] = setting(
        ("experiments/results/costs.csv",),
        "What stages have cost (WORKDIR/costs.csv of other pipelines): by these and its own "
        "--dry_run tells hours and disk.",
    )
    set: tuple[str, ...] = setting(
        (),
        "[STAGE:]name=value: changes a flag of the stage of this name; without a stage, in every "
        "command in which it is written, which must agree.",
        repeated=True,
    )


COMMAND = Command("ccssl_tf.pipeline", __doc__, (PipelineSettings,))


def plan(settings: PipelineSettings) -> list[Stage]:
    """Turns the command templates into the stages to run, in order.

    Each comes once, after all that it reads. With several seeds each gets `workdir/seed<n>`, and a
    report over all of them comes last.

    Raises:
      InputError: a command, placeholder or setting is wrong, or no stage is called so.
    """
    if not settings.command:
        raise InputError(
            "no commands: name a --flagfile with --command lines, e.g. "
            "--flagfile=experiments/quickstart.flags"
        )
    commands = command_lines.spelled_out(settings.command, settings.define)
    stages: list[Stage] = []
    for seed in settings.seeds or (settings.seed,):
        root = settings.workdir
        if settings.seeds:
            root = os.path.join(root, f"seed{seed}")
        part = [command_lines.parse(text, workdir=root, seed=seed) for text in commands]
        if settings.images:
            part = stage_changes.use_images(part, settings.images)
        part = stage_changes.override(part, settings.set)
        if settings.sweep:
            part = stage_changes.sweep(part, settings.sweep, root)
        stages += part
    if len(settings.seeds) > 1 and any(stage.module == "ccssl_tf.report" for stage in stages):
        output_dir = os.path.join(settings.workdir, "report")
        kind = ["--paper"] if any("--paper" in stage.arguments for stage in stages) else []
        arguments = (*kind, f"--runs={settings.workdir}", f"--output_dir={output_dir}")
        stages.append(Stage("ccssl_tf.report", arguments, root=settings.workdir))
    return stage_graph.selected(stage_graph.in_order(stages), settings.only, settings.until)


def _state(stage, is_done):
    if is_done:
        return "done already"
    if stage.lacks_labels():
        return "would be left out, no labels"
    if (stage.directory / "run.json").is_file():
        started = command_has_started(stage.directory, stage.line)
        return "would continue" if started else "would run, the old one kept aside"
    return "would run"


def _print_graph(stages):
    """Prints each stage with the numbers of those it reads."""
    print(f"{len(stages)} stages:")
    for stage in stages:
        print(_graph_line(stage, stages))
    sys.stdout.flush()


def _graph_line(stage, stages):
    numbers = {other.directory: number for number, other in enumerate(stages, start=1)}
    read = [str(numbers[other.directory]) for other in stage_graph.inputs_of(stage, stages)]
    is_report = stage.module == "ccssl_tf.report"
    after = f" (reads {'all above' if is_report else ', '.join(read)})" if read else ""
    return f"{numbers[stage.directory]:4}. {stage_headings.heading(stage, stages)}{after}"


def _print_dry_run(stages, paths):
    """Prints each stage with its state, what it will cost as far as that is known, and its command;
    then what all of them will.
    """
    costs = stage_costs.StageCosts(stages)
    # Whether a stage is done is asked once: it may take a walk through all photos.
    done = [stage for stage in stages if command_is_done(stage.directory, stage.line)]
    for stage in done:
        costs.note(stage)
    for path in paths:
        costs.read(shipped.located(path))
    left = [stage for stage in stages if stage not in done and not stage.lacks_labels()]
    print(f"{len(stages)} stages:")
    for stage in stages:
        cost = stage_costs.in_words(costs, [stage]) if stage in left else ""
        state = _state(stage, stage in done)
        print(f"{_graph_line(stage, stages)}  {state}{f'  {cost}' if cost else ''}")
        print(f"        {format_command(stage.line)}")
    if total := stage_work.total_in_words(stages):
        print(total)
    if total := stage_costs.in_words(costs, left):
        print(f"to come: {total}{stage_costs.unknown_in_words(costs, left)}")
        print(f"measured on {'; '.join(costs.machines(left))}")
    print("every command's flags are valid; nothing was run or written")


def _checked(stages: list[Stage], dry_run: bool) -> list[Stage]:
    """Checks the flags of all stages; of finished ones only where something was changed."""
    needed = [
        stage
        for stage in stages
        if dry_run or stage.changed or not command_is_done(stage.directory, stage.line)
    ]
    if not needed:
        return stages
    checked = iter(command_lines.check_flags(needed))
    return [next(checked) if stage in needed else stage for stage in stages]


def _print_outcome(stages):
    """Prints the tables of probes and students, what they mean, and where to look next; a report of
    the paper's tables has printed what it found.
    """
    all_reports = [stage for stage in stages if stage.module == "ccssl_tf.report"]
    reports = [stage.directory for stage in all_reports if "--paper" not in stage.arguments]
    if reports:
        summary = read_json(reports[-1] / "summary.json", remedy="run the report again")
        tables = terminal.format_probe_tables(summary)
        tables += terminal.format_overview(summary)
        means = "".join(f"{sentence}\n\n" for sentence in summary["verdicts"])
        print(f"\n{tables}\n{means}report   {reports[-1] / 'index.html'}")
        print(f"curves   tensorboard --logdir={reports[-1].parent}")
        for stage in stages:
            if stage.module == "ccssl_tf.export":
                print(f"network  {stage.directory}: export.json says what goes in and comes out")
                answers = reports[-1].parent / "predictions"
                print(
                    f"next     python -m ccssl_tf.predict --run={stage.flag('run')} "
                    f"--source=PHOTOS --workdir={answers}"
                )
        sys.stdout.flush()


def main(values):
    """Runs the pipeline."""
    settings = values[PipelineSettings]
    if settings.images and not pathlib.Path(settings.images).is_dir():
        raise InputError(f"--images={settings.images}: no such directory")
    stages = _checked(plan(settings), settings.dry_run)
    workdir = pathlib.Path(settings.workdir)
    check_place(workdir)
    if settings.dry_run:
        _print_dry_run(stages, settings.costs)
        return
    _print_graph(stages)
    workdir.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with locked(workdir):
        print(f"their commands: {stage_headings.write_commands(workdir, stages)}", flush=True)
        run_all(stages, workdir, settings.side_by_side)
    print(f"\nall {len(stages)} stages done in {hours(time.monotonic() - started)}")
    _print_outcome(stages)


if __name__ == "__main__":
    launch(COMMAND, main)

r"""Runs a list of commands, skipping the finished ones whose inputs have not changed.

python -m ccssl_tf.pipeline --flagfile=experiments/quickstart.flags
python -m ccssl_tf.pipeline --flagfile=experiments/quickstart.flags --images=DIR \
    the same on your own photos
python -m ccssl_tf.pipeline --flagfile=experiments/quickstart.flags \
    --sweep=num_clusters=50,100,200      some stages for several values
python -m ccssl_tf.pipeline --flagfile=experiments/quickstart.flags \
    --until=clusters                     one stage and all that it reads

Interrupted, the same command continues it.
"""

import dataclasses
import json
import os
import pathlib
import sys
import time

from ccssl_tf.reporting import terminal
from ccssl_tf.runs import command_lines, stage_changes, stage_graph, stage_work
from ccssl_tf.runs.command import Command
from ccssl_tf.runs.command_lines import Stage
from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.launch import launch
from ccssl_tf.runs.lock import locked
from ccssl_tf.runs.run_record import command_has_started, command_is_done, format_command
from ccssl_tf.runs.settings import CommandSettings, SeedSettings, setting
from ccssl_tf.runs.stages import run_all


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


def _describe(stage):
    if command_is_done(stage.directory, stage.line):
        return "done already"
    if stage.lacks_labels():
        return "would be left out, no labels"
    if (stage.directory / "run.json").is_file():
        started = command_has_started(stage.directory, stage.line)
        return "would continue" if started else "would run, the old one kept aside"
    return "would run"


def _print_graph(stages, dry_run):
    """Prints each stage with the numbers of those it reads and how much it trains; for a dry run
    its command, too.
    """
    print(f"{len(stages)} stages:")
    numbers = {stage.directory: number for number, stage in enumerate(stages, start=1)}
    for stage in stages:
        read = [str(numbers[other.directory]) for other in stage_graph.inputs_of(stage, stages)]
        is_report = stage.module == "ccssl_tf.report"
        after = f"  reads {'all above' if is_report else ', '.join(read)}" if read else ""
        work = stage_work.in_words(stage)
        after += f"  {work}" if work else ""
        state = f"  ({_describe(stage)})" if dry_run else ""
        print(f"{numbers[stage.directory]:4}. {stage.name}  {stage.module}{after}{state}")
        if dry_run:
            print(f"        {format_command(stage.line)}")
    if dry_run and (total := stage_work.total_in_words(stages)):
        print(total)
    sys.stdout.flush()


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
        summary = json.loads((reports[-1] / "summary.json").read_text())
        tables = terminal.format_probe_tables(summary)
        tables += terminal.format_overview(summary)
        means = "".join(f"{sentence}\n\n" for sentence in summary["verdicts"])
        print(f"\n{tables}\n{means}report   {reports[-1] / 'index.html'}")
        print(f"curves   tensorboard --logdir={reports[-1].parent}")
        for stage in stages:
            if stage.module == "ccssl_tf.export":
                print(f"network  {stage.directory}: export.json says what goes in and comes out")
        sys.stdout.flush()


def main(values):
    """Runs the pipeline."""
    settings = values[PipelineSettings]
    if settings.images and not pathlib.Path(settings.images).is_dir():
        raise InputError(f"--images={settings.images}: no such directory")
    stages = _checked(plan(settings), settings.dry_run)
    _print_graph(stages, settings.dry_run)
    if settings.dry_run:
        print("every command's flags are valid; nothing was run or written")
        return
    workdir = pathlib.Path(settings.workdir)
    if workdir.is_file():
        raise InputError(f"--workdir={workdir}: is a file; name a directory")
    workdir.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with locked(workdir):
        run_all(stages)
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    print(f"\nall {len(stages)} stages done in {minutes} min {seconds} s")
    _print_outcome(stages)


if __name__ == "__main__":
    launch(COMMAND, main)

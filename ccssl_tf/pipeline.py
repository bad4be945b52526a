r"""Runs a list of commands, skipping the finished ones whose inputs have not changed; the same
command continues it.

python -m ccssl_tf.pipeline --flagfile=experiments/quickstart.flags
python -m ccssl_tf.pipeline --flagfile=experiments/quickstart.flags --images=DIR      the same on \
    your own photos
python -m ccssl_tf.pipeline --flagfile=experiments/quickstart.flags \
    --sweep=num_clusters=50,100,200      some stages for several values
"""

import ctypes
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

from absl import flags

from ccssl_tf.reporting import summary as summary_lib
from ccssl_tf.reporting import transfer_section
from ccssl_tf.runs import command_lines as commands_lib
from ccssl_tf.runs import launch
from ccssl_tf.runs import workdir as workdir_lib
from ccssl_tf.runs.command_lines import Command
from ccssl_tf.runs.errors import CcsslError, InputError, Interrupted, ResourceError

COMMAND = flags.DEFINE_multi_string(
    "command",
    [],
    "A command as typed after `python -m`; repeat for a list. {workdir} and {seed} are filled in; "
    "a leading [labels] marks one to leave "
    "out when its --data_dir turns out to have no labels.",
)
WORKDIR = workdir_lib.directory_flag(
    "workdir",
    "runs/pipeline",
    "Directory under which every stage gets its own; {workdir} in commands.",
)
IMAGES = flags.DEFINE_string(
    "images",
    None,
    "Folder of your own images, used instead of the data set the first command makes.",
)
SEEDS = flags.DEFINE_list(
    "seeds",
    None,
    "Seeds, e.g. 0,1,2: runs the list once for each, in --workdir/seed0, ..., then reports over "
    "all.",
)
SWEEP = flags.DEFINE_string(
    "sweep",
    None,
    "name=value,value,...: runs the commands that depend on this flag once for each value, in "
    "--workdir/name_value, the others once; a "
    "report compares them.",
)
SET = flags.DEFINE_multi_string(
    "set",
    [],
    "name=value: changes a flag in every command in which it is written; may be repeated.",
)

# How long to wait for a stage that is still stopping after its pipeline was killed, in seconds.
_LOCK_PATIENCE = 60.0


class Runner:
    """Runs commands one after the other as child processes and passes SIGTERM, SIGINT and SIGHUP on
    to the one running.

    A child is in a process group of its own, so that Ctrl-C reaches it once (through here), and is
    asked to stop when this process is killed.
    """

    def __init__(self):
        self.interrupted = False
        self._process = None
        self._previous = {}

    def __enter__(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # Under nohup, SIGHUP stays ignored.
                self._previous[number] = signal.signal(number, self._forward)
        return self

    def __exit__(self, *unused):
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _forward(self, number, unused_frame):
        self.interrupted = True
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)

    def run(self, command: Command) -> int:
        """Runs `command` to its end, its output going where ours goes; returns the exit code,
        negative for a signal.
        """
        libc, parent = ctypes.CDLL(None, use_errno=True), os.getpid()

        def die_with_parent():
            if hasattr(libc, "prctl"):
                libc.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
            if os.getppid() != parent:
                os._exit(Interrupted.exit_code)

        self._process = subprocess.Popen(
            [sys.executable, "-m", *command.line],
            env=dict(os.environ, PYTHONUNBUFFERED="1"),
            process_group=0,
            preexec_fn=die_with_parent,
        )
        if self.interrupted:
            self._process.terminate()
        code = self._process.wait()
        self._process = None
        return code


def plan(
    templates: list[str],
    *,
    workdir: str,
    seed: int,
    seeds: list[int],
    images: str | None,
    settings: list[str],
    sweep: str | None = None,
) -> list[Command]:
    """Turns the templates into the commands to run, in order.

    Args:
      templates: commands with placeholders.
      workdir: for `{workdir}`; with several seeds each gets `workdir/seed<n>`.
      seed: for `{seed}` when `seeds` is empty.
      seeds: runs the list once for each, then a report over all of them.
      images: folder that replaces the data set, or None.
      settings: `name=value` overrides.
      sweep: `name=value,value,...`, or None (see `commands.sweep`).

    Raises:
      InputError: a command, placeholder or setting is wrong.
    """
    if not templates:
        raise InputError(
            "no commands: name a --flagfile with --command lines, e.g. "
            "--flagfile=experiments/quickstart.flags"
        )
    result = []
    for number in seeds or [seed]:
        root = os.path.join(workdir, f"seed{number}") if seeds else workdir
        commands = [
            commands_lib.parse(template, workdir=root, seed=number) for template in templates
        ]
        if images:
            commands = commands_lib.use_images(commands, images)
        commands = commands_lib.override(commands, settings)
        result += commands_lib.sweep(commands, sweep, root) if sweep else commands
    if len(seeds) > 1 and any(command.module == "ccssl_tf.report" for command in result):
        result.append(
            Command(
                "ccssl_tf.report",
                (f"--runs={workdir}", f"--output_dir={os.path.join(workdir, 'report')}"),
            )
        )
    directories = [command.directory for command in result]
    for directory in directories:
        if directories.count(directory) > 1:
            raise InputError(
                f"{directory}: two commands of the pipeline write there; give each its own "
                "directory"
            )
    return result


def run_all(commands: list[Command]):
    """Runs the commands in order, skipping what is done; stops at the first failure.

    Raises:
      CcsslError: a command failed; the error's exit code is that command's.
      Interrupted: a signal arrived, and the running command has stopped.
    """
    with Runner() as runner:
        for number, command in enumerate(commands, start=1):
            _run_stage(runner, command, f"[{number}/{len(commands)}]")
            if runner.interrupted:
                raise Interrupted("interrupted; the same command continues where it stopped")


def _run_stage(runner, command, label):
    typed = workdir_lib.format_command(command.line)
    if workdir_lib.command_is_done(command.directory, command.line):
        print(f"{label} done already: {typed}", flush=True)
        return
    if command.lacks_labels():
        print(f"{label} left out, the images have no labels: {typed}", flush=True)
        return
    print(f"\n{label} {typed}", flush=True)
    _wait_until_free(command.directory)
    aside = None
    if (command.directory / "run.json").is_file() and not workdir_lib.command_has_started(
        command.directory, command.line
    ):
        aside = workdir_lib.set_aside(command.directory)
        print(
            f"{label} made before by another command line or from inputs that have changed since: "
            f"kept as {aside}",
            flush=True,
        )
    started = time.monotonic()
    code = runner.run(command)
    if (
        code and aside and not command.directory.exists()
    ):  # Refused before it wrote anything: so it replaces nothing.
        aside.rename(command.directory)
        print(f"{label} {aside} is {command.directory} again", flush=True)
    if runner.interrupted and code:
        raise Interrupted(f"interrupted in {typed}; the same command continues where it stopped")
    if code:
        raise _failure(typed, code)
    print(f"{label} {time.monotonic() - started:.1f} s", flush=True)


def _failure(typed, code):
    if code == -signal.SIGKILL:
        return ResourceError(f"{typed}: was killed (out of memory?)")
    error = CcsslError(
        f"{typed}: {f'ended by signal {-code}' if code < 0 else f'exit code {code}'}; its message "
        "is above"
    )
    error.exit_code = 128 - code if code < 0 else code
    return error


def _wait_until_free(directory):
    """Waits while another process, e.g. a stage whose pipeline was killed and which is still
    saving, holds the directory.
    """
    deadline, said = time.monotonic() + _LOCK_PATIENCE, False
    while (directory / ".lock").is_file():
        try:
            with workdir_lib.locked(directory):
                return
        except InputError as error:
            if time.monotonic() > deadline:
                raise
            if not said:
                print(f"waiting: {error}", flush=True)
            said = True
            time.sleep(0.5)


def _describe(command):
    if workdir_lib.command_is_done(command.directory, command.line):
        return "done already"
    if command.lacks_labels():
        return "would be left out, no labels"
    if (command.directory / "run.json").is_file():
        return (
            "would continue"
            if workdir_lib.command_has_started(command.directory, command.line)
            else "would run, the old one kept aside"
        )
    return "would run"


def _print_outcome(commands):
    """Prints the tables of probes and students and the path of the last report."""
    reports = [command.directory for command in commands if command.module == "ccssl_tf.report"]
    if reports:
        summary = json.loads((reports[-1] / "summary.json").read_text())
        tables = summary_lib.format_probe_tables(summary) + transfer_section.format_overview(
            summary
        )
        print(f"\n{tables}report: {reports[-1] / 'index.html'}", flush=True)


def main():
    """Reads the flags and runs the pipeline."""
    try:
        seeds = [int(seed) for seed in SEEDS.value or []]
    except ValueError as error:
        raise InputError(
            f"--seeds={','.join(SEEDS.value)}: write whole numbers, e.g. --seeds=0,1,2"
        ) from error
    if IMAGES.value and not pathlib.Path(IMAGES.value).is_dir():
        raise InputError(f"--images={IMAGES.value}: no such directory")
    commands = plan(
        COMMAND.value,
        workdir=WORKDIR.value,
        seed=launch.SEED.value,
        seeds=seeds,
        images=IMAGES.value,
        settings=SET.value,
        sweep=SWEEP.value,
    )
    print(f"{len(commands)} commands:")
    for number, command in enumerate(commands, start=1):
        print(
            f"{number:4}. {workdir_lib.format_command(command.line)}"
            + (f"  ({_describe(command)})" if launch.DRY_RUN.value else "")
        )
    sys.stdout.flush()
    if launch.DRY_RUN.value:
        commands_lib.check_flags(commands)
        print("every command's flags are valid; nothing was run or written")
        return
    if pathlib.Path(WORKDIR.value).is_file():
        raise InputError(f"--workdir={WORKDIR.value}: is a file; name a directory")
    pathlib.Path(WORKDIR.value).mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with workdir_lib.locked(WORKDIR.value):
        run_all(commands)
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    print(f"\nall {len(commands)} commands done in {minutes} min {seconds} s")
    _print_outcome(commands)


if __name__ == "__main__":
    launch.launch(main, __doc__)

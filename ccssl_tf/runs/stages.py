"""Runs the stages of a pipeline one after the other, skipping what is done."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from ccssl_tf.runs.command_lines import Stage
from ccssl_tf.runs.errors import CcsslError, InputError, Interrupted, ResourceError
from ccssl_tf.runs.lock import locked, set_aside
from ccssl_tf.runs.progress import hours
from ccssl_tf.runs.run_record import command_has_started, command_is_done
from ccssl_tf.runs.stage_headings import COMMANDS_NAME, heading
from ccssl_tf.runs.stage_pace import Pace

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

    def run(self, stage: Stage) -> int:
        """Runs `stage` to its end, its output going where ours goes; returns the exit code,
        negative for a signal.
        """
        libc, parent = ctypes.CDLL(None, use_errno=True), os.getpid()

        def die_with_parent():
            if hasattr(libc, "prctl"):
                libc.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
            if os.getppid() != parent:
                os._exit(Interrupted.exit_code)

        self._process = subprocess.Popen(
            [sys.executable, "-m", *stage.line],
            env=dict(os.environ, PYTHONUNBUFFERED="1"),
            process_group=0,
            preexec_fn=die_with_parent,
        )
        if self.interrupted:
            self._process.terminate()
        code = self._process.wait()
        self._process = None
        return code


def run_all(stages: Sequence[Stage]):
    """Runs the stages in order, skipping what is done; stops at the first failure.

    Raises:
      CcsslError: a command failed; the error's exit code is that command's.
      Interrupted: a signal arrived, and the running command has stopped.
    """
    pace = Pace(stages)
    with Runner() as runner:
        for number, stage in enumerate(stages, start=1):
            label = f"[{number}/{len(stages)}]"
            title = f"{label} {heading(stage, stages)}"
            seconds = _run_stage(runner, stage, label, title)
            if runner.interrupted:
                raise Interrupted("interrupted; the same command continues where it stopped")
            if seconds is not None:
                pace.note(stage, seconds)
                told = pace.describe([other for other in stages[number:] if _is_left(other)])
                print(f"{label} took {hours(seconds)}{f'; {told}' if told else ''}", flush=True)


def _is_left(stage):
    return not (command_is_done(stage.directory, stage.line) or stage.lacks_labels())


def _run_stage(runner, stage, label, title):
    """Runs a stage unless it is done or left out; returns the seconds it took, else None."""
    if command_is_done(stage.directory, stage.line):
        print(f"{title}: done already", flush=True)
        return None
    if stage.lacks_labels():
        print(f"{title}: left out, the images have no labels", flush=True)
        return None
    print(f"\n{title}", flush=True)
    _wait_until_free(stage.directory)
    aside = None
    if (stage.directory / "run.json").is_file() and not command_has_started(
        stage.directory, stage.line
    ):
        aside = set_aside(stage.directory)
        print(
            f"{label} made before by another command line or from inputs that have changed since: "
            f"kept as {aside}",
            flush=True,
        )
    started = time.monotonic()
    code = runner.run(stage)
    if code and aside and not stage.directory.exists():
        # The command was refused before it wrote anything: so it replaces nothing.
        aside.rename(stage.directory)
        print(f"{label} {aside} is {stage.directory} again", flush=True)
    told = f"{label} {stage.name} ({stage.module})"
    if runner.interrupted and code:
        raise Interrupted(f"interrupted in {told}; the same command continues where it stopped")
    if code:
        raise _failure(told, code)
    return time.monotonic() - started


def _failure(told, code):
    if code == -signal.SIGKILL:
        return ResourceError(f"{told}: was killed (out of memory?)")
    error = CcsslError(
        f"{told}: {f'ended by signal {-code}' if code < 0 else f'exit code {code}'}; its message "
        f"is above, its command in {COMMANDS_NAME}"
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
            with locked(directory):
                return
        except InputError as error:
            if time.monotonic() > deadline:
                raise
            if not said:
                print(f"waiting: {error}", flush=True)
            said = True
            time.sleep(0.5)

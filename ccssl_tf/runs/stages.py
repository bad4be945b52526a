"""Runs the stages of a pipeline, each after all that it reads, skipping what is done."""

import dataclasses
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Sequence

from ccssl_tf.runs import machine, stage_graph
from ccssl_tf.runs.command_lines import Stage
from ccssl_tf.runs.errors import CcsslError, FlagError, InputError, Interrupted, ResourceError
from ccssl_tf.runs.lock import locked, set_aside
from ccssl_tf.runs.progress import hours
from ccssl_tf.runs.run_record import command_has_started, command_is_done
from ccssl_tf.runs.stage_costs import COSTS_NAME, StageCosts
from ccssl_tf.runs.stage_headings import COMMANDS_NAME, heading
from ccssl_tf.runs.stage_processes import StageProcesses

# How long to wait for a stage that is still stopping after its pipeline was killed, in seconds.
_LOCK_PATIENCE = 60.0
# How often it is looked whether a stage has ended, in seconds.
_LOOK_EVERY = 0.05


@dataclasses.dataclass
class _Running:
    """A stage that runs, and what it replaces where that is kept until it has begun."""

    stage: Stage
    label: str
    process: subprocess.Popen
    log: pathlib.Path | None
    aside: pathlib.Path | None
    started: float

    def told(self) -> str:
        return f"{self.label} {self.stage.name} ({self.stage.module})"


def run_all(stages: Sequence[Stage], workdir: str | os.PathLike, side_by_side: int = 1):
    """Runs the stages, skipping what is done; starts no other after the first failure.

    Args:
      stages: each after all that it reads.
      workdir: of the pipeline; its `costs.csv` says what each stage has cost.
      side_by_side: how many may run at the same time, each on its share of the GPUs. The output of
        several goes to files in `workdir`/logs.

    Raises:
      FlagError: there are fewer GPUs than that, but some.
      CcsslError: a command failed; the error's exit code is that command's. Others that ran beside
        it have been asked to stop.
      Interrupted: a signal arrived, and what ran has stopped.
    """
    environments = _environments(side_by_side)
    with StageProcesses() as processes:
        _Schedule(stages, pathlib.Path(workdir), processes, environments).run()


def _environments(side_by_side) -> list[dict[str, str]]:
    """Variables of each of so many processes, so that they share the GPUs."""
    if side_by_side == 1:
        return [{}]
    gpus = machine.visible_gpus()
    if not gpus:
        return [{} for _ in range(side_by_side)]
    if len(gpus) < side_by_side:
        raise FlagError(
            f"--side_by_side={side_by_side}: there are {len(gpus)} GPUs; use as many or fewer"
        )
    shares = [gpus[number::side_by_side] for number in range(side_by_side)]
    return [dict(CUDA_VISIBLE_DEVICES=",".join(share)) for share in shares]


class _Schedule:
    """What waits, what runs, and what was learned of their costs."""

    def __init__(self, stages, workdir, processes: StageProcesses, environments):
        self._stages, self._workdir, self._processes = stages, workdir, processes
        self._labels = {
            stage.directory: f"[{number}/{len(stages)}]"
            for number, stage in enumerate(stages, start=1)
        }
        self._waiting = list(stages)
        self._inputs = {
            stage.directory: {other.directory for other in stage_graph.inputs_of(stage, stages)}
            for stage in stages
        }
        self._environments = environments
        self._running: dict[int, _Running] = {}
        self._costs = StageCosts(stages)
        self._started = time.monotonic()

    def run(self):
        failure = None
        while True:
            try:
                self._note_what_has_ended()
            except CcsslError as error:
                if failure is None:
                    failure = error
                    self._processes.stop()
            if failure is None and not self._processes.interrupted:
                self._start_what_can_be()
            if not self._running:
                break
            time.sleep(_LOOK_EVERY)
        if failure is not None:
            raise failure
        if self._processes.interrupted:
            raise Interrupted("interrupted; the same command continues where it stopped")

    def _start_what_can_be(self):
        """Starts stages whose inputs are there, in their order, while there is a free place."""
        places = range(len(self._environments))
        for stage in list(self._waiting):
            place = next((number for number in places if number not in self._running), None)
            if place is None or self._processes.interrupted:
                return
            unfinished = {other.directory for other in self._waiting}
            unfinished |= {one.stage.directory for one in self._running.values()}
            if self._inputs[stage.directory] & unfinished:
                continue
            self._waiting.remove(stage)
            running = self._begin(stage, place)
            if running is not None:
                self._running[place] = running

    def _begin(self, stage, place) -> _Running | None:
        """Starts a stage unless it is done or left out."""
        label = self._labels[stage.directory]
        title = f"{label} {heading(stage, self._stages)}"
        if command_is_done(stage.directory, stage.line):
            print(f"{title}: done already", flush=True)
            self._costs.note(stage)
            return None
        if stage.lacks_labels():
            print(f"{title}: left out, the images have no labels", flush=True)
            return None
        environment, log = self._environments[place], None
        if len(self._environments) > 1:
            log = self._workdir / "logs" / self._log_name(stage)
            title += "".join(f"; GPU {gpus}" for gpus in environment.values())
            title += f"; output in {log}"
        print(f"\n{title}" if log is None else title, flush=True)
        _wait_until_free(stage.directory)
        aside = None
        has_record = (stage.directory / "run.json").is_file()
        if has_record and not command_has_started(stage.directory, stage.line):
            aside = set_aside(stage.directory)
            print(
                f"{label} made before by another command line or from inputs that have changed "
                f"since: kept as {aside}",
                flush=True,
            )
        started = time.monotonic()
        process = self._processes.start(stage, environment, log)
        return _Running(stage, label, process, log, aside, started)

    def _log_name(self, stage):
        directory = stage.directory
        if directory.is_relative_to(self._workdir):
            directory = directory.relative_to(self._workdir)
        return directory.as_posix().strip("/").replace("/", "_") + ".log"

    def _note_what_has_ended(self):
        for place, one in list(self._running.items()):
            code = one.process.poll()
            if code is None:
                continue
            del self._running[place]
            if code and one.aside and not one.stage.directory.exists():
                # The command was refused before it wrote anything: so it replaces nothing.
                one.aside.rename(one.stage.directory)
                print(f"{one.label} {one.aside} is {one.stage.directory} again", flush=True)
            if self._processes.interrupted and code:
                raise Interrupted(
                    f"interrupted in {one.told()}; the same command continues where it stopped"
                )
            if code:
                raise _failure(one, code)
            self._note_cost(one)

    def _note_cost(self, one):
        seconds = time.monotonic() - one.started
        self._costs.note(one.stage, seconds)
        self._costs.write(self._workdir / COSTS_NAME)
        told = self._time_left()
        print(f"{one.label} took {hours(seconds)}{f'; {told}' if told else ''}", flush=True)

    def _time_left(self) -> str:
        """Returns e.g. "0:02:10 so far, 4 stages left, ETA 0:00:40 for 2 of them"."""
        left = [
            stage
            for stage in self._waiting
            if not (command_is_done(stage.directory, stage.line) or stage.lacks_labels())
        ]
        if not left:
            return ""
        known = [seconds for stage in left if (seconds := self._costs.seconds(stage)) is not None]
        text = f"{hours(time.monotonic() - self._started)} so far, {len(left)} stage"
        text += f"{'s' if len(left) > 1 else ''} left"
        if known:
            text += f", ETA {hours(sum(known) / len(self._environments))}"
            text += f" for {len(known)} of them" if len(known) < len(left) else ""
        return text


def _failure(one, code):
    if code == -signal.SIGKILL:
        return ResourceError(f"{one.told()}: was killed (out of memory?)")
    where = "is above"
    if one.log is not None:
        where = f"is in {one.log}"
        lines = one.log.read_text(errors="replace").splitlines()
        print("\n".join(lines[-5:]), flush=True)
    error = CcsslError(
        f"{one.told()}: {f'ended by signal {-code}' if code < 0 else f'exit code {code}'}; its "
        f"message {where}, its command in {COMMANDS_NAME}"
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

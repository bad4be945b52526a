"""The output directory of one run: locked, tied to settings and inputs, finished by DONE alone."""

import os
import pathlib
import sys
import time
from collections.abc import Collection, Mapping

import filelock

import ccssl_tf
from ccssl_tf.runs import machine
from ccssl_tf.runs.digests import write_digests
from ccssl_tf.runs.errors import FlagError, InputError, ResourceError
from ccssl_tf.runs.files import is_temporary, sweep_temporary_files, write_bytes, write_json
from ccssl_tf.runs.lock import HOLDER_NAME, LOCK_NAME, MARKER_NAME, lock
from ccssl_tf.runs.run_record import (
    DONE_NAME,
    FLAGS_NAME,
    FREE_FLAGS,
    RUN_NAME,
    flag_lines,
    input_fingerprint,
    read_record,
)
from ccssl_tf.runs.values import Values

_HOUSEKEEPING = frozenset({LOCK_NAME, HOLDER_NAME, MARKER_NAME, FLAGS_NAME, RUN_NAME})


def check_place(directory):
    """Raises an error where `directory` is neither a directory that can be written to nor could be
    made.

    Raises:
      InputError: it is a file, or below one.
      ResourceError: nothing can be written there.
    """
    directory = pathlib.Path(directory)
    there = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    if not there.is_dir():
        what = "" if there == directory else f" for {directory}"
        raise InputError(f"{there}: is a file; name a directory{what}")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ResourceError(f"{there}: nothing can be written there; name another directory")


class Workdir:
    """One run's output directory.

    Holds `flags.txt` (the settings as they ran, itself a valid flagfile), `run.json` (command,
    input fingerprints, the settings that are not at their defaults, and the lines of `flags.txt`:
    they alone guard the directory against another run), at the end `metrics.json` (nothing in it
    depends on time or machine), `timing.json`, `digests.json`, and last `DONE`.

    Use:
      with Workdir(path, inputs={"data_dir": path}, settings=values) as workdir:
          if workdir.is_done: return
          ...
          workdir.finish(metrics={...})
    """

    def __init__(
        self,
        path,
        *,
        inputs: Mapping[str, str | pathlib.Path | None],
        settings: Values,
        writes: bool = True,
    ):
        """Names the directory.

        Args:
          path: the directory, made if absent.
          inputs: flag name -> path of what the command reads.
          settings: those that run; what was chosen automatically as the value it has.
          writes: False in the processes of a job that leave locking and writing to another one.
        """
        if not path:
            raise FlagError("no output directory given: set --workdir (or --output_dir)")
        self.path = pathlib.Path(path)
        self._inputs = {name: str(value) for name, value in inputs.items() if value}
        self._settings, self._writes = settings, writes
        self._lock: filelock.BaseFileLock | None = None
        self._started = time.time()

    @property
    def is_done(self) -> bool:
        """Whether a run with these settings and inputs has finished here."""
        return (self.path / DONE_NAME).is_file()

    def __enter__(self):
        if not self._writes:
            return self
        fingerprints = self.check()
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = lock(self.path)
        try:
            self._claim(fingerprints)
        except BaseException:
            self.__exit__()
            raise
        return self

    def check(self) -> dict[str, str]:
        """Returns the inputs' fingerprints; writes nothing.

        Raises:
          InputError: the directory holds another run or something else, or lies below a file.
          ResourceError: nothing can be written there.
        """
        fingerprints = {name: input_fingerprint(path) for name, path in self._inputs.items()}
        check_place(self.path)
        if self.path.exists():
            outputs = self._outputs()
            if outputs and not (self.path / RUN_NAME).is_file():
                raise InputError(
                    f"{self.path}: already holds something else ({outputs[0]}); name an empty "
                    "directory"
                )
            self._refuse_another_run(fingerprints)
        return fingerprints

    def __exit__(self, *unused):
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _outputs(self):
        """Names of what is there besides this class's own notes, which come before any output."""
        names = (entry.name for entry in self.path.iterdir())
        return sorted(n for n in names if n not in _HOUSEKEEPING and not is_temporary(n))

    def _refuse_another_run(self, fingerprints):
        if not self._outputs():
            return
        record = read_record(self.path / RUN_NAME)
        difference = self._settings.difference(
            flag_lines(self.path),
            is_resolved="settings" in record,
            # Inputs may be written otherwise; their fingerprints are compared.
            ignored=FREE_FLAGS | self._inputs.keys(),
        )
        if difference:
            name, before, now = difference
            raise InputError(
                f"{self.path}: already holds a run with {before or f'no --{name}'}, not "
                f"{now or f'no --{name}'}; name another directory"
            )
        for name, source in record["inputs"].items():
            before, now = source["fingerprint"], fingerprints.get(name, "nothing")
            if before != now:
                raise InputError(
                    f"{self.path}: was made from another --{name} (fingerprint {before[:12]}, now "
                    f"{now[:12]}); name another directory"
                )

    def _claim(self, fingerprints):
        # Again: before the lock was held another command may have written.
        self._refuse_another_run(fingerprints)
        sweep_temporary_files(self.path)
        if self.is_done:
            return  # What it holds is told by digests.
        lines = [line for of_one in self._settings.lines().values() for line in of_one]
        write_bytes(self.path / FLAGS_NAME, "".join(f"{line}\n" for line in lines).encode())
        inputs = {
            name: dict(path=path, fingerprint=fingerprints[name])
            for name, path in self._inputs.items()
        }
        record = dict(
            command=self._settings.command(),
            inputs=inputs,
            settings=self._settings.beside_defaults(),
            flags=lines,
            python=sys.version.split()[0],
            commit=machine.source_commit(),
            version=ccssl_tf.__version__,
        )
        write_json(self.path / RUN_NAME, record)

    def finish(self, *, metrics: dict, timing: dict | None = None, passing: Collection[str] = ()):
        """Writes `metrics.json`, `timing.json` (adding the seconds since this object was made, the
        time now and the machine), the digests of all files, and last `DONE`.

        Args:
          metrics, timing: what the files say.
          passing: patterns of the files that the caller removes afterwards.
        """
        if not self._writes:
            return
        seconds = round(time.time() - self._started, 1)
        write_json(self.path / "metrics.json", metrics)
        ended = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        facts = dict(seconds=seconds, finished=ended, machine=machine.description())
        write_json(self.path / "timing.json", dict(timing or {}, **facts))
        write_digests(self.path, passing)
        write_bytes(self.path / DONE_NAME, (self.path / RUN_NAME).read_bytes())

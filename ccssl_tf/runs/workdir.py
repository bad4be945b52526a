"""The output directory of one command: locked, tied to its flags and inputs, finished by a DONE
marker.
"""

import contextlib
import fcntl
import itertools
import json
import os
import pathlib
import shlex
import socket
import sys
import time

from absl import flags

from ccssl_tf.runs import launch
from ccssl_tf.runs.errors import CorruptArtifactError, FlagError, InputError
from ccssl_tf.runs.files import (
    MANIFEST_NAME,
    fingerprint_of,
    sweep_temporary_files,
    write_bytes,
    write_json,
)

# Flags that say where and how fast, not what: a run may be continued with other values of these.
FREE_FLAGS = frozenset(
    {
        "workdir",
        "output_dir",
        "dry_run",
        "strategy",
        "flagfile",
        "num_workers",
        "runner",
        "beam_options",
        "max_bad_images",
    }
    | {"log_steps", "checkpoint_steps"}
)
_HOUSEKEEPING = frozenset({".lock", "flags.txt", "run.json"})


def directory_flag(name: str, default: str | None, help_text: str):
    """Defines --workdir or --output_dir; commands imported into one process may each define it in
    their own words.
    """
    return flags.DEFINE_string(name, default, help_text, allow_override=True)


def input_fingerprint(path) -> str:
    """Returns a digest that changes when what `path` holds for a later stage changes, without
    reading it all.

    A directory with a manifest or a backbone answers with their recorded fingerprints, a file of
    ours with that of its neighbour, anything else with its names, sizes and modification times.
    """
    path = pathlib.Path(path)
    directory = path if path.is_dir() else path.parent
    recorded = None
    if path.is_dir():
        recorded = _recorded_fingerprint(path / MANIFEST_NAME)
    if path.is_dir() or path.name == "backbone.keras":
        recorded = recorded or _recorded_fingerprint(directory / "backbone.json")
    if recorded:
        return recorded
    if not path.exists():
        raise InputError(f"{path}: no such file or directory")
    listing = []
    for root, directories, files in (
        os.walk(path) if path.is_dir() else [(directory, [], [path.name])]
    ):
        directories.sort()
        for name in sorted(files):
            status = os.stat(os.path.join(root, name), follow_symlinks=False)
            listing.append(
                [
                    os.fsencode(os.path.relpath(os.path.join(root, name), path)).hex(),
                    status.st_size,
                    status.st_mtime_ns,
                ]
            )
    return fingerprint_of(listing)


def _recorded_fingerprint(path):
    """The fingerprint in a file of ours; None where there is none, as in a user's folder with a
    manifest.json of another kind.
    """
    try:
        return str(json.loads(path.read_text())["fingerprint"])
    except (OSError, KeyError, TypeError, ValueError):
        return None


class Workdir:
    """One command's output directory.

    Holds `flags.txt` (the resolved flags, itself a valid flagfile), `run.json` (command line and
    input fingerprints), at the end `metrics.json` (nothing in it depends on time or machine),
    `timing.json`, and last `DONE`.

    Use:
      with Workdir(path, inputs={"data_dir": path}) as workdir:
          if workdir.is_done: return
          ...
          workdir.finish(metrics={...})
    """

    def __init__(self, path, *, inputs: dict[str, str], writes: bool = True):
        """Names the directory.

        Args:
          path: the directory, made if absent.
          inputs: flag name -> path of what the command reads.
          writes: False in the processes of a job that leave locking and writing to another one.
        """
        if not path:
            raise FlagError("no output directory given: set --workdir (or --output_dir)")
        self.path = pathlib.Path(path)
        self._inputs = {name: str(value) for name, value in inputs.items() if value}
        self._lock, self._writes = None, writes
        self._started = time.time()

    @property
    def is_done(self) -> bool:
        """Whether a run with these flags and inputs has finished here."""
        return (self.path / "DONE").is_file()

    def __enter__(self):
        if not self._writes:
            return self
        fingerprints = self.check()
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self.path)
        try:
            self._claim(fingerprints)
        except BaseException:
            self.__exit__()
            raise
        return self

    def check(self) -> dict[str, str]:
        """Returns the inputs' fingerprints; raises InputError where the directory holds another run
        or something else. Writes nothing.
        """
        fingerprints = {name: input_fingerprint(path) for name, path in self._inputs.items()}
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path}: is a file; name a directory")
        if self.path.exists():
            if self._outputs() and not (self.path / "run.json").is_file():
                raise InputError(
                    f"{self.path}: already holds something else ({self._outputs()[0]}); name an "
                    "empty directory"
                )
            self._refuse_another_run(fingerprints)
        return fingerprints

    def __exit__(self, *unused):
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _outputs(self):
        """Names of what is there besides this class's own notes of a run that has not written
        anything yet.
        """
        names = (entry.name for entry in self.path.iterdir())
        return sorted(name for name in names if name not in _HOUSEKEEPING and ".tmp-" not in name)

    def _refuse_another_run(self, fingerprints):
        if self._outputs() and (self.path / "flags.txt").is_file():
            _refuse_other_flags(self.path, self._inputs)
            for name, before in _recorded_inputs(self.path / "run.json").items():
                now = fingerprints.get(name, "nothing")
                if before != now:
                    raise InputError(
                        f"{self.path}: was made from another --{name} (fingerprint {before[:12]}, "
                        f"now {now[:12]}); name another directory"
                    )

    def _claim(self, fingerprints):
        record = self.path / "run.json"
        # Again: before the lock was held another command may have written.
        self._refuse_another_run(fingerprints)
        sweep_temporary_files(self.path)
        write_bytes(
            self.path / "flags.txt",
            "".join(f"{line}\n" for line in _resolved_flags().values()).encode(),
        )
        write_json(
            record,
            dict(
                command=[_module_name(), *sys.argv[1:]],
                inputs={
                    name: dict(path=path, fingerprint=fingerprints[name])
                    for name, path in self._inputs.items()
                },
                python=sys.version.split()[0],
            ),
        )

    def finish(self, *, metrics: dict, timing: dict | None = None):
        """Writes `metrics.json`, `timing.json` (adding the seconds since this object was made) and
        last `DONE`.
        """
        if not self._writes:
            return
        write_json(self.path / "metrics.json", metrics)
        write_json(
            self.path / "timing.json",
            dict(timing or {}, seconds=round(time.time() - self._started, 1)),
        )
        write_bytes(self.path / "DONE", (self.path / "run.json").read_bytes())


def _module_name():
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return spec.name if spec else sys.argv[0]


def _recorded_inputs(record) -> dict[str, str]:
    try:
        return {
            name: str(value["fingerprint"])
            for name, value in json.loads(record.read_text())["inputs"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptArtifactError(
            f"{record}: damaged; delete the directory to start again"
        ) from error


def _known_flags():
    return {
        flag.name: flag
        for defined in launch.command_flags().values()
        for flag in defined
        if flag.name != "dry_run"
    }


def _resolved_flags() -> dict[str, str]:
    return {
        name: flag.serialize() for name, flag in _known_flags().items() if flag.value is not None
    }


def _refuse_other_flags(directory, inputs):
    """Refuses a run with other flags; inputs may be written otherwise, their fingerprints are
    compared.
    """
    known, resolved, recorded = _known_flags(), _resolved_flags(), {}
    for line in (directory / "flags.txt").read_text().splitlines():
        name = line.lstrip("-").split("=")[0]
        name = (
            name.removeprefix("no")
            if "=" not in line and name.removeprefix("no") in known
            else name
        )
        # A flag given several times has one line for each value.
        recorded[name] = f"{recorded[name]}\n{line}" if name in recorded else line
    for name, flag in known.items():
        before, now = recorded.get(name), resolved.get(name)
        # A flag with a default is always recorded: without a record it is one that the program has
        # learned since.
        added_since = before is None and flag.default is not None
        if before != now and name not in FREE_FLAGS and name not in inputs and not added_since:
            before, now = (
                " ".join((line or f"no --{name}").splitlines()) for line in (before, now)
            )
            raise InputError(
                f"{directory}: already holds a run with {before}, not {now}; name another directory"
            )


def _lock(directory):
    descriptor = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(descriptor, 200).decode(errors="replace").strip()
        os.close(descriptor)
        raise InputError(
            f"{directory}: in use by {holder or 'another process'}; wait for it or name another "
            "directory"
        ) from error
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
    return descriptor


@contextlib.contextmanager
def locked(directory):
    """Holds the directory's lock; raises InputError naming the holder when another
    process has it.
    """
    descriptor = _lock(pathlib.Path(directory))
    try:
        yield
    finally:
        os.close(descriptor)


def set_aside(directory) -> pathlib.Path:
    """Renames a directory no process is using to the first free of `<directory>.old-1`, `.old-2`,
    ... and returns that.
    """
    directory = pathlib.Path(directory)
    with locked(directory):
        names = (
            directory.with_name(f"{directory.name}.old-{number}") for number in itertools.count(1)
        )
        target = next(name for name in names if not name.exists())
        directory.rename(target)
    return target


def read_flags(directory) -> dict[str, str]:
    """Returns the resolved flags of the run in `directory` as text, by name; {} when it has no
    `flags.txt`.
    """
    path, values = pathlib.Path(directory) / "flags.txt", {}
    for line in path.read_text().splitlines() if path.is_file() else []:
        name, separator, value = line.strip().removeprefix("--").partition("=")
        values[name if separator else name.removeprefix("no")] = (
            value if separator else str(not name.startswith("no")).lower()
        )
    return values


def command_is_done(directory, command: list[str]) -> bool:
    """Whether `command` (module, then arguments), free flags aside, has finished in `directory` on
    inputs unchanged since.
    """
    return _is_record_of(pathlib.Path(directory) / "DONE", command)


def command_has_started(directory, command: list[str]) -> bool:
    """Whether `directory` is a run, finished or not, of `command`, free flags aside, on inputs that
    have not changed since.
    """
    return _is_record_of(pathlib.Path(directory) / "run.json", command)


def _is_record_of(path, command):
    try:
        record = json.loads(path.read_text())
        return _without_free_flags(record["command"]) == _without_free_flags(command) and all(
            input_fingerprint(value["path"]) == value["fingerprint"]
            for value in record["inputs"].values()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _without_free_flags(command):
    """The command less what a run may be continued with other values of; a flagfile may hold
    anything, so it stays.
    """
    return [
        word
        for word in command
        if word.lstrip("-").partition("=")[0] not in FREE_FLAGS - {"flagfile"}
    ]


def format_command(command: list[str]) -> str:
    """Returns (module, arguments...) as one would type it."""
    return shlex.join(["python", "-m", *command])

"""What a directory says of the run that wrote it: `run.json`, `flags.txt`, digests of inputs."""

import os
import pathlib
import shlex
from collections.abc import Sequence

from ccssl_tf.runs.errors import CcsslError, CorruptArtifactError, InputError
from ccssl_tf.runs.files import MANIFEST_NAME, fingerprint_of
from ccssl_tf.runs.json_files import read_json

# Flags that say where and how fast, not what: a run may be continued with other values of these.
FREE_FLAGS = frozenset(
    {"workdir", "output_dir", "dry_run", "strategy", "flagfile", "num_workers"}
    | {"runner", "beam_options", "max_bad_images", "log_steps", "checkpoint_steps", "log_to"}
    | {"histogram_steps", "profile_steps", "health_steps", "health_images"}
)
RUN_NAME, FLAGS_NAME, DONE_NAME = "run.json", "flags.txt", "DONE"
_REMEDY = "delete the directory to start again"
_FORM = dict(
    command=[str],
    inputs={str: dict(path=str, fingerprint=str)},
    settings=({str: str}, None),
    # The lines of flags.txt; runs of older versions have them there alone.
    flags=([str], None),
    version=(str, None),
    commit=(str, None),
)


def input_fingerprint(path) -> str:
    """Returns a digest that changes when what `path` holds for a later stage changes.

    Nothing is read whole: a directory with a manifest or a backbone answers with their recorded
    fingerprints, a file of ours with that of its neighbour, anything else with its names, sizes and
    modification times.

    Raises:
      InputError: there is nothing at `path`.
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
    for root, files in _walked(path) if path.is_dir() else [(str(directory), [path.name])]:
        for name in files:
            file = os.path.join(root, name)
            status = os.stat(file, follow_symlinks=False)
            hexadecimal = os.fsencode(os.path.relpath(file, path)).hex()
            listing.append([hexadecimal, status.st_size, status.st_mtime_ns])
    return fingerprint_of(listing)


def _recorded_fingerprint(path):
    """The fingerprint in a file of ours; None in a user's own manifest.json of another kind."""
    try:
        return read_json(path, dict(fingerprint=str), remedy=_REMEDY)["fingerprint"]
    except (OSError, CorruptArtifactError):
        return None


def _walked(top):
    """Yields (directory, names of its files), sorted; links to directories are not followed.

    In Python 3.11 `os.walk` calls itself, and trees may be deeper than Python's stack.
    """
    pending = [str(top)]
    while pending:
        root = pending.pop()
        try:
            with os.scandir(root) as entries:
                inside = sorted(entries, key=lambda entry: entry.name)
        except OSError:  # As `os.walk` does.
            continue
        files: list[os.DirEntry] = []
        folders: list[os.DirEntry] = []
        for entry in inside:
            (folders if _is_folder(entry) else files).append(entry)
        yield root, [entry.name for entry in files]
        pending += [entry.path for entry in reversed(folders) if not entry.is_symlink()]


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link to itself.
        return False


def read_record(path) -> dict:
    """Returns the contents of a `run.json` or `DONE`; raises CorruptArtifactError."""
    return read_json(path, _FORM, remedy=_REMEDY)


def flag_lines(directory) -> list[str]:
    """Returns the lines of the flags of the run in `directory`; none where there is no run.

    `run.json` says them, and that of an older version leaves it to `flags.txt`.

    Raises:
      CorruptArtifactError: the file that says them is damaged, or none does.
    """
    path, record = pathlib.Path(directory) / FLAGS_NAME, pathlib.Path(directory) / RUN_NAME
    if record.is_file():
        lines = read_record(record).get("flags")
        if lines is not None:
            return lines
    elif not path.is_file():
        return []
    try:
        lines = path.read_bytes().decode().splitlines()
    except FileNotFoundError as error:
        raise CorruptArtifactError(f"{path}: is missing; {_REMEDY}") from error
    except UnicodeDecodeError as error:
        raise CorruptArtifactError(f"{path}: damaged ({error}); {_REMEDY}") from error
    if not lines:
        raise CorruptArtifactError(f"{path}: damaged (it holds no flag); {_REMEDY}")
    return lines


def read_flags(directory) -> dict[str, str]:
    """Returns the resolved flags of the run in `directory` as text, by name; {} without any."""
    values = {}
    for line in flag_lines(directory):
        name, separator, value = line.strip().removeprefix("--").partition("=")
        values[name if separator else name.removeprefix("no")] = (
            value if separator else str(not name.startswith("no")).lower()
        )
    return values


def command_is_done(directory, command: Sequence[str]) -> bool:
    """Whether `command` (module, then arguments), free flags aside, has finished in `directory` on
    inputs unchanged since.
    """
    return _is_record_of(pathlib.Path(directory) / DONE_NAME, command)


def command_has_started(directory, command: Sequence[str]) -> bool:
    """Whether `directory` is a run, finished or not, of `command`, free flags aside, on inputs that
    have not changed since.
    """
    return _is_record_of(pathlib.Path(directory) / RUN_NAME, command)


def _is_record_of(path, command):
    try:
        record = read_record(path)
        return _without_free_flags(record["command"]) == _without_free_flags(command) and all(
            input_fingerprint(value["path"]) == value["fingerprint"]
            for value in record["inputs"].values()
        )
    except (OSError, CcsslError):
        return False


def _without_free_flags(command):
    """The command less its free flags; a flagfile may hold anything, so it stays."""
    free = FREE_FLAGS - {"flagfile"}
    return [word for word in command if word.lstrip("-").partition("=")[0] not in free]


def format_command(command: Sequence[str]) -> str:
    """Returns (module, arguments...) as one would type it."""
    return shlex.join(["python", "-m", *command])

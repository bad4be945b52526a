"""`digests.json`: the size and SHA-256 of every file that a finished directory holds, by which
`data_prep.verify` tells what has changed since in any of them.

Two are not in it: itself, which has a checksum, and `DONE`, which has the bytes of `run.json`.
"""

import os
import pathlib
from collections.abc import Collection

from ccssl_tf.runs.errors import CorruptArtifactError
from ccssl_tf.runs.files import MANIFEST_NAME, file_sha256, is_temporary, write_json
from ccssl_tf.runs.json_files import read_json
from ccssl_tf.runs.lock import HOLDER_NAME, LOCK_NAME
from ccssl_tf.runs.run_record import DONE_NAME, RUN_NAME

DIGESTS_NAME = "digests.json"
_REMEDY = "write the directory again"
_SIZE = range(1 << 63)
_FORM = dict(files={str: dict(num_bytes=_SIZE, sha256=str)})
_SHARDS = dict(splits={str: [dict(name=str, num_bytes=_SIZE, sha256=str)]})
_HOUSEKEEPING = frozenset({LOCK_NAME, HOLDER_NAME})


def write_digests(directory, passing: Collection[str] = ()):
    """Writes `digests.json`. Shards are not read again: their manifest has their digests.

    Args:
      directory: in which nothing is left to be written but `DONE`.
      passing: patterns of the files that are removed once the directory is done.

    >>> _ = pathlib.Path(workdir, "a.txt").write_text("a")
    >>> write_digests(workdir)
    >>> _ = pathlib.Path(workdir, "a.txt").write_text("b")
    >>> Digests(workdir).faults()
    ['a.txt: its content is not what was written; it was edited or damaged']
    """
    directory = pathlib.Path(directory)
    names = [
        name
        for name in _names(directory)
        if not any(pathlib.PurePath(name).match(pattern) for pattern in passing)
    ]
    told: dict[str, dict] = {}
    for name in names:
        if os.path.basename(name) == MANIFEST_NAME:
            shards = _of_shards(directory, name)
            told |= {shard: shards[shard] for shard in names if shard in shards}
    for name in names:
        if name not in told and name not in (DIGESTS_NAME, DONE_NAME):
            told[name] = _digest(directory / name)
    write_json(directory / DIGESTS_NAME, dict(files=told))


class Digests:
    """What `digests.json` says of a directory."""

    def __init__(self, directory):
        """Reads it; where there is none, as in directories of older versions, no file can be
        judged.

        Raises:
          CorruptArtifactError: it is damaged.
        """
        self._directory, path = pathlib.Path(directory), pathlib.Path(directory) / DIGESTS_NAME
        self.are_there = path.is_file()
        self._told = read_json(path, _FORM, remedy=_REMEDY)["files"] if self.are_there else {}
        if RUN_NAME in self._told:
            self._told[DONE_NAME] = self._told[RUN_NAME]

    @property
    def names(self) -> set[str]:
        """The files that something is said of, by their paths below the directory."""
        return set(self._told)

    def fault(self, name: str) -> str | None:
        """Returns what is wrong with a file, by its path below the directory; None for nothing, or
        where nothing is said of it.
        """
        told = self._told.get(name)
        if told is None:
            return None
        if not (self._directory / name).is_file():
            return "is missing"
        if _digest(self._directory / name) != told:
            return "its content is not what was written; it was edited or damaged"
        return None

    def refuse_damage(self, *names: str):
        """Raises CorruptArtifactError for a file that is not what was written."""
        for name in names:
            if fault := self.fault(name):
                raise CorruptArtifactError(f"{self._directory / name}: {fault}; {_REMEDY}")

    def faults(self, besides: Collection[str] = ()) -> list[str]:
        """Returns a line for each file with a fault, but for those named in `besides`."""
        found = {name: self.fault(name) for name in sorted(self._told) if name not in besides}
        return [f"{name}: {fault}" for name, fault in found.items() if fault]

    def not_judged(self) -> list[str]:
        """Returns the names of the files that are there and of which nothing is said."""
        return [
            name
            for name in _names(self._directory)
            if name not in self._told and name != DIGESTS_NAME
        ]


def _names(directory):
    """Returns the paths of all files below a directory, but for locks, temporary ones, and those of
    other runs, which have digests of their own.
    """
    names = []
    for root, folders, files in os.walk(directory):
        if RUN_NAME in files and pathlib.Path(root) != pathlib.Path(directory):
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not is_temporary(name))
        below = pathlib.Path(root).relative_to(directory)
        names += [
            (below / name).as_posix()
            for name in sorted(files)
            if name not in _HOUSEKEEPING and not is_temporary(name)
        ]
    return names


def _of_shards(directory, manifest):
    """Returns name -> digest of the shards of a manifest; {} where it is none of ours."""
    try:
        splits = read_json(directory / manifest, _SHARDS, remedy=_REMEDY)["splits"]
    except CorruptArtifactError:
        return {}
    below = pathlib.PurePath(manifest).parent
    return {
        (below / shard["name"]).as_posix(): dict(
            num_bytes=shard["num_bytes"], sha256=shard["sha256"]
        )
        for shards in splits.values()
        for shard in shards
    }


def _digest(path):
    return dict(num_bytes=path.stat().st_size, sha256=file_sha256(path))

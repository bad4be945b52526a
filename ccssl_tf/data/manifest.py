"""What a directory of shards holds: counts, sizes, digests and a fingerprint, written last and trusted alone.

Everything is written to a temporary name in the same directory, synced and renamed (`atomic_file`), so that a reader never sees
half a file. This module does not import TensorFlow.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import uuid

from ccssl_tf.errors import CorruptArtifactError, InputError

SCHEMA_VERSION = 1
MANIFEST_NAME = "manifest.json"
_TEMPORARY = ".tmp-"


def fingerprint_of(value) -> str:
    """Returns the SHA-256 (hex, 64 characters) of a JSON-serialisable value, independent of dict order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def file_sha256(path) -> str:
    """Returns the SHA-256 (hex) of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_directory(directory):
    """Makes renames inside `directory` durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def atomic_file(path):
    """Yields a temporary path beside `path`; on a clean exit it is synced and renamed to `path`, else removed."""
    path = pathlib.Path(path)
    temporary = path.with_name(f"{path.name}{_TEMPORARY}{os.getpid()}-{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_directory(path.parent)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # A full disk does not say what was written.
        raise


def write_bytes(path, data: bytes):
    """Writes `data` to `path`, wholly or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)


def write_json(path, value):
    """Writes `value` as indented JSON to `path`, wholly or not at all."""
    write_bytes(path, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())


@contextlib.contextmanager
def atomic_directory(path):
    """Yields a temporary path beside `path` for a directory to be made at; on a clean exit it becomes `path`, else it is removed.

    What was at `path` before is replaced.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f"{path.name}{_TEMPORARY}{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        yield temporary
        for root, _, files in os.walk(temporary):
            for name in files:
                with open(os.path.join(root, name), "rb+") as file:
                    os.fsync(file.fileno())
            sync_directory(root)
        if path.exists():
            shutil.rmtree(path)
        os.rename(temporary, path)
        sync_directory(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sweep_temporary_files(directory):
    """Removes what a killed writer left in `directory`. Call it only while holding the directory's lock."""
    for path in pathlib.Path(directory).glob(f"*{_TEMPORARY}*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def shard_name(split: str, shard: int, num_shards: int) -> str:
    """Returns e.g. `train-00007-of-00128.tfrecord`."""
    return f"{split}-{shard:05d}-of-{num_shards:05d}.tfrecord"


@dataclasses.dataclass(frozen=True)
class Shard:
    """One finished shard: file name, examples, bytes, SHA-256 (hex)."""

    name: str
    num_examples: int
    num_bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The contents of one directory of shards.

    Attributes:
      kind: "images", "features", "pseudo_labels" or "proposals".
      splits: split name -> shards in order.
      info: facts of the kind: for images `class_names` (list or None) and `source`; for features `dim`, `dtype`, `extractor`,
        `images_fingerprint`, ...; for pseudo-labels `num_clusters`, `images_fingerprint`, ...
    """

    kind: str
    splits: dict[str, list[Shard]]
    info: dict

    def num_examples(self, split: str) -> int:
        """Returns the number of examples in `split`."""
        return sum(shard.num_examples for shard in self.shards(split))

    def shards(self, split: str) -> list[Shard]:
        """Returns the shards of `split`; raises InputError naming the splits there are."""
        if split not in self.splits:
            raise InputError(f"no split {split!r} in these {self.kind}: there are {', '.join(sorted(self.splits)) or 'none'}")
        return self.splits[split]

    def fingerprint(self, split: str | None = None) -> str:
        """Returns a digest of the content of one split, or of everything but `data_dir`, which says where and not what."""
        if split is not None:
            return fingerprint_of([self.kind, [shard.sha256 for shard in self.shards(split)]])
        info = {name: value for name, value in self.info.items() if name != "data_dir"}
        return fingerprint_of([self.kind, {name: self.fingerprint(name) for name in self.splits}, info])

    def write(self, directory):
        """Writes `manifest.json`: the last file of a finished directory."""
        splits = {name: [dataclasses.asdict(shard) for shard in shards] for name, shards in self.splits.items()}
        content = dict(schema_version=SCHEMA_VERSION, kind=self.kind, splits=splits, info=self.info, fingerprint=self.fingerprint())
        # The fingerprint is of what the shards hold; the checksum guards the rest of the file, such as the counts.
        write_json(pathlib.Path(directory) / MANIFEST_NAME, dict(content, checksum=fingerprint_of(content)))

    @classmethod
    def read(cls, directory, kind: str | None, *, check_shards: bool = True) -> "Manifest":
        """Reads and checks `directory/manifest.json`.

        Args:
          directory: where it lies.
          kind: what it must hold; None for anything.
          check_shards: whether every shard must be there and have its size.

        Raises:
          InputError: no such directory, or it holds another kind of data.
          CorruptArtifactError: no manifest, an edited one, one of another schema, or shards missing or of another size.
        """
        directory = pathlib.Path(directory)
        path = directory / MANIFEST_NAME
        if not directory.is_dir():
            raise InputError(f"{directory}: no such directory (expected one holding {kind or 'a manifest'})")
        if not path.is_file():
            raise CorruptArtifactError(f"{directory}: no {MANIFEST_NAME}; the command that writes it has not finished there")
        try:
            raw = json.loads(path.read_text())
            version = raw["schema_version"]
            if version != SCHEMA_VERSION:
                raise CorruptArtifactError(f"{path}: schema version {version}, this program reads {SCHEMA_VERSION}; convert again")
            splits = {name: [Shard(**shard) for shard in shards] for name, shards in raw["splits"].items()}
            manifest = cls(raw["kind"], splits, raw["info"])
            checksum = raw.pop("checksum", None)
            unchanged = raw["fingerprint"] == manifest.fingerprint() and checksum in (None, fingerprint_of(raw))
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise CorruptArtifactError(f"{path}: not a manifest ({error}); write the directory again") from error
        if not unchanged:
            raise CorruptArtifactError(f"{path}: its content does not match its fingerprint and checksum; it was edited or damaged")
        if kind not in (None, manifest.kind):
            raise InputError(f"{directory}: holds {manifest.kind}, not {kind}")
        for shards in splits.values() if check_shards else []:
            for shard in shards:
                file = directory / shard.name
                size = file.stat().st_size if file.is_file() else None
                if size != shard.num_bytes:
                    found = "is missing" if size is None else f"has {size} bytes instead of {shard.num_bytes}"
                    raise CorruptArtifactError(f"{file}: {found}; write the directory again")
        return manifest

"""Files written wholly or not at all, and digests of what they hold.

Everything is written to a temporary name in the same directory, synced and renamed (`atomic_file`),
so that a reader never sees half a file.
"""

import contextlib
import csv
import hashlib
import json
import os
import pathlib
import re
import shutil
import uuid
from collections.abc import Iterable, Sequence

# What a directory of shards says of itself (see `ccssl_tf.data.manifest`).
MANIFEST_NAME = "manifest.json"
# The name under which a JSON file holds the digest of the rest of it.
CHECKSUM = "checksum"
_SAMPLE_BYTES = 16 << 10
_TEMPORARY = re.compile(r"\.tmp-\d+-[0-9a-f]{8}(?:\.[^/]*)?\Z", re.DOTALL)


def fingerprint_of(value) -> str:
    """Returns the SHA-256 (hex, 64 characters) of a JSON-serialisable value, independent of dict
    order.
    """
    return hashlib.sha256(
        json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()


def file_sha256(path) -> str:
    """Returns the SHA-256 (hex) of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sample_sha256(path) -> str:
    """Returns the SHA-256 (hex) of 16 KiB at the beginning, the middle and the end of a file: three
    reads, whatever its size, tell files of the same size apart that other runs wrote.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        last = max(os.fstat(file.fileno()).st_size - _SAMPLE_BYTES, 0)
        for start in (0, last // 2, last):
            file.seek(start)
            digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def write_csv(path, columns: Sequence[str], rows: Iterable[Sequence]):
    """Writes a table as UTF-8, a header and a line a row, wholly or not at all."""
    with atomic_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def sync_directory(directory):
    """Makes renames inside `directory` durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _temporary_beside(path, ending=""):
    return path.with_name(f"{path.name}.tmp-{os.getpid()}-{uuid.uuid4().hex[:8]}{ending}")


def is_temporary(name: str) -> bool:
    """Whether a file or directory is called as those that `atomic_file` and `atomic_directory`
    write first; what people call `notes.tmp-1` is not.
    """
    return _TEMPORARY.search(name) is not None


@contextlib.contextmanager
def atomic_file(path):
    """Yields a temporary path beside `path`; on a clean exit it is synced and renamed to `path`,
    else removed.
    """
    path = pathlib.Path(path)
    temporary = _temporary_beside(path, "".join(path.suffixes))
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


def write_json(path, content: dict):
    """Writes an object as indented JSON to `path`, with its checksum, wholly or not at all; for
    `ccssl_tf.runs.json_files.read_json`.
    """
    # As it is read again: with names that are texts, and lists instead of tuples.
    content = json.loads(json.dumps(content))
    content[CHECKSUM] = fingerprint_of(content)
    write_bytes(path, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())


@contextlib.contextmanager
def atomic_directory(path):
    """Yields a temporary path beside `path` for a directory to be made at; on a clean exit it
    becomes `path`, else it is removed.

    What was at `path` before is replaced.
    """
    path = pathlib.Path(path)
    temporary = _temporary_beside(path)
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
    """Removes what a killed writer left in `directory`, which is told by its name. Call it only
    while holding the directory's lock.
    """
    for path in pathlib.Path(directory).glob("*.tmp-*"):
        if not is_temporary(path.name):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

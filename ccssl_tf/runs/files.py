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
import shutil
import uuid
from collections.abc import Iterable, Sequence

# What a directory of shards says of itself (see `ccssl_tf.data.manifest`).
MANIFEST_NAME = "manifest.json"
_TEMPORARY = ".tmp-"


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


@contextlib.contextmanager
def atomic_file(path):
    """Yields a temporary path beside `path`; on a clean exit it is synced and renamed to `path`,
    else removed.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(
        f"{path.name}{_TEMPORARY}{os.getpid()}-{uuid.uuid4().hex[:8]}{''.join(path.suffixes)}"
    )
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
    """Yields a temporary path beside `path` for a directory to be made at; on a clean exit it
    becomes `path`, else it is removed.

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
    """Removes what a killed writer left in `directory`. Call it only while holding the directory's
    lock.
    """
    for path in pathlib.Path(directory).glob(f"*{_TEMPORARY}*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

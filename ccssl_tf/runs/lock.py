"""The lock of a directory: one process at a time writes into it.

`filelock` uses flock or Windows's locks, which end with the process that holds them, and where a
network file system has neither, a file that says who holds the directory.
"""

import contextlib
import itertools
import os
import pathlib
import socket
import stat

import filelock

from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.files import write_bytes

LOCK_NAME, HOLDER_NAME = ".lock", ".holder"


def lock(directory) -> filelock.BaseFileLock:
    """Returns the held lock of `directory`; its `release` ends it.

    Raises:
      InputError: another process holds it; the message names that.
    """
    directory = pathlib.Path(directory)
    held = filelock.FileLock(directory / LOCK_NAME, thread_local=False)
    # A link would be followed: another's file be emptied. A pipe would be waited for.
    if not _is_plain(directory / LOCK_NAME):
        raise InputError(f"{directory / LOCK_NAME}: is a link or no regular file; remove it")
    try:
        held.acquire(timeout=0)
    except filelock.Timeout as error:
        raise InputError(
            f"{directory}: in use by {_holder(directory)}; wait for it or name another directory"
        ) from error
    write_bytes(
        directory / HOLDER_NAME, f"process {os.getpid()} on {socket.gethostname()}".encode()
    )
    return held


def _is_plain(path):
    """Whether there is a regular file at `path`, or nothing."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return True


def _holder(directory):
    # Before version 0.2 the lock file itself said who holds it.
    for name in (HOLDER_NAME, LOCK_NAME):
        with contextlib.suppress(OSError):
            if not _is_plain(directory / name):
                continue
            if text := (directory / name).read_text(errors="replace").strip():
                return text
    return "another process"


@contextlib.contextmanager
def locked(directory):
    """Holds the directory's lock; raises InputError naming the holder when there is one."""
    held = lock(directory)
    try:
        yield
    finally:
        held.release()


def set_aside(directory) -> pathlib.Path:
    """Renames a directory no process is using to the first free of `<directory>.old-1`, `.old-2`,
    ... and returns that.
    """
    directory = pathlib.Path(directory)
    with locked(directory):
        names = (directory.with_name(f"{directory.name}.old-{n}") for n in itertools.count(1))
        target = next(name for name in names if not name.exists())
        directory.rename(target)
    return target

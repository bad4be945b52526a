"""The lock of a directory: one process at a time writes into it.

`filelock` uses flock or Windows's locks, which end with the process that holds them. Where a file
system has neither, as some network ones, a file that only one process can create says who holds the
directory; that of a process of this machine that has ended does not count.
"""

import contextlib
import errno
import itertools
import os
import pathlib
import socket
import stat
import sys

import filelock

from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.files import write_bytes
from ccssl_tf.runs.progress import print_line

LOCK_NAME, HOLDER_NAME, MARKER_NAME = ".lock", ".holder", ".lock-marker"
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})


def lock(directory) -> filelock.BaseFileLock:
    """Returns the held lock of `directory`; its `release` ends it.

    Raises:
      InputError: another process holds it; the message names that.
    """
    directory = pathlib.Path(directory)
    # A link would be followed: another's file be emptied. A pipe would be waited for.
    for name in (LOCK_NAME, MARKER_NAME):
        if not _is_plain(directory / name):
            raise InputError(f"{directory / name}: is a link or no regular file; remove it")
    held: filelock.BaseFileLock = filelock.FileLock(
        directory / LOCK_NAME, thread_local=False, fallback_to_soft=False
    )
    removing = ""
    try:
        try:
            held.acquire(timeout=0)
        except OSError as error:
            # A timeout is one, too, without a number.
            if error.errno not in _NO_LOCKS:
                raise
            held = filelock.SoftFileLock(directory / MARKER_NAME, thread_local=False)
            print_line(
                f"warning: {directory}: its file system has no locks ({error.strerror}); "
                f"{MARKER_NAME} in it says that it is in use",
                sys.stderr,
            )
            removing = f", remove {directory / MARKER_NAME} if that has ended,"
            held.acquire(timeout=0)
    except filelock.Timeout as error:
        raise InputError(
            f"{directory}: in use by {_holder(directory)}; wait for it{removing} or name another "
            "directory"
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

"""A file system without locks (some network and FUSE ones): commands go on, and still one at a time
writes into a directory.
"""

import errno
import os
import pathlib
import signal
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
# The system call as such a file system answers it, and what holds a directory.
HOLD = """
import fcntl, sys, time
from ccssl_tf.runs import errors, lock
def flock(descriptor, operation):
    raise OSError(int(sys.argv[1]), "no locks here")
fcntl.flock = flock
try:
    with lock.locked(sys.argv[2]):
        print("holding", flush=True)
        time.sleep(float(sys.argv[3]))
except errors.InputError as error:
    sys.exit(str(error))
"""


def _hold(number, directory, seconds):
    command = [sys.executable, "-c", HOLD, str(number), str(directory), str(seconds)]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_one_process_at_a_time_without_locks(tmp_path, number):
    first = _hold(number, tmp_path, 600)
    try:
        assert first.stdout.readline() == "holding\n"
        second = _hold(number, tmp_path, 0)
        output, errors = second.communicate(timeout=60)
        assert (second.returncode, output) == (1, "")
        warning, error = errors.splitlines()
        assert warning.startswith(f"warning: {tmp_path}: its file system has no locks (no locks")
        assert f"in use by process {first.pid} on " in error
        assert f"remove {tmp_path}/.lock-marker if that has ended" in error
    finally:
        first.send_signal(signal.SIGKILL)
        first.communicate()
    # Its file stays behind, of a process that has ended.
    third = _hold(number, tmp_path, 0)
    assert third.communicate(timeout=60)[0] == "holding\n" and third.returncode == 0
    assert sorted(os.listdir(tmp_path)) == [".holder", ".lock"]


def test_other_errors_of_locking_are_told(tmp_path):
    process = _hold(errno.EIO, tmp_path, 0)
    assert "no locks here" in process.communicate(timeout=60)[1]
    assert process.returncode == 1


def test_a_process_of_another_machine_counts_until_its_file_is_removed(tmp_path):
    (tmp_path / ".lock-marker").write_text("7\nelsewhere\n")
    (tmp_path / ".holder").write_text("process 7 on elsewhere")
    process = _hold(errno.ENOLCK, tmp_path, 0)
    assert "in use by process 7 on elsewhere; wait for it" in process.communicate(timeout=60)[1]
    (tmp_path / ".lock-marker").unlink()
    assert _hold(errno.ENOLCK, tmp_path, 0).communicate(timeout=60)[0] == "holding\n"

"""One process at a time holds a directory; a killed one frees it."""

import os
import pathlib
import signal
import socket
import subprocess
import sys

import pytest

from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.lock import lock, locked, set_aside

ROOT = pathlib.Path(__file__).parents[2]

HOLDER = """
import sys, time
from ccssl_tf.runs import errors, lock
try:
    with lock.locked(sys.argv[1]):
        print("holding", flush=True)
        if len(sys.argv) > 2:
            time.sleep(600)
except errors.InputError as error:
    sys.exit(str(error))
"""


def start_holder(directory, *more):
    command = [sys.executable, "-c", HOLDER, str(directory), *more]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_two_processes_never_share_a_directory_and_a_killed_one_frees_it(tmp_path):
    first = start_holder(tmp_path, "wait")
    try:
        assert first.stdout.readline() == "holding\n"
        message = f"{tmp_path}: in use by process {first.pid} on {socket.gethostname()}; wait for"
        second = start_holder(tmp_path)
        out, err = second.communicate()
        assert (second.returncode, out) == (1, "")
        assert err.startswith(message) and err.count("\n") == 1
        with pytest.raises(InputError, match="in use by process"), locked(tmp_path):
            pass
        with pytest.raises(InputError, match="in use by process"):
            set_aside(tmp_path)
        assert tmp_path.is_dir()
    finally:
        first.send_signal(signal.SIGKILL)
        first.communicate()
    third = start_holder(tmp_path)
    assert third.communicate() == ("holding\n", "")
    with locked(tmp_path):
        pass


def test_within_a_process_too_one_holds_it_until_it_is_released(tmp_path):
    held = lock(tmp_path)
    with pytest.raises(InputError, match=f"in use by process {os.getpid()} on "):
        lock(tmp_path)
    held.release()
    with locked(tmp_path), pytest.raises(InputError, match="in use"), locked(tmp_path):
        pass
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    lock(tmp_path).release()


def test_the_holder_of_an_older_version_is_named(tmp_path):
    held = lock(tmp_path)
    (tmp_path / ".holder").unlink()
    (tmp_path / ".lock").write_text("process 7 on elsewhere")
    with pytest.raises(InputError, match="in use by process 7 on elsewhere"):
        lock(tmp_path)
    (tmp_path / ".lock").write_text("")
    with pytest.raises(InputError, match="in use by another process"):
        lock(tmp_path)
    held.release()


def test_set_aside_keeps_what_was_there(tmp_path):
    for number in (1, 2):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "run.json").write_text(str(number))
        assert set_aside(tmp_path / "out") == tmp_path / f"out.old-{number}"
        assert not (tmp_path / "out").exists()
        assert (tmp_path / f"out.old-{number}" / "run.json").read_text() == str(number)
    (tmp_path / "out").mkdir()
    (tmp_path / "out.old-1" / "run.json").rename(tmp_path / "kept")
    for path in (tmp_path / "out.old-1").iterdir():
        path.unlink()
    (tmp_path / "out.old-1").rmdir()
    assert set_aside(tmp_path / "out") == tmp_path / "out.old-1"

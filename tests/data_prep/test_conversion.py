"""Conversions that are killed, stopped and continued."""

import os
import pathlib
import random
import signal
import time

import pytest


def _children(pid):
    found = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in found.read_text().split()] if found.exists() else []


def _kill_and_resume(commands, directory, expected, wait):
    """Kills the command when `wait` returns, sees its workers go, finishes it, compares."""
    process = commands.start(*commands.SHAPES, f"--output_dir={directory}", "--num_workers=1")
    wait(process)
    workers = _children(process.pid)
    process.kill()
    process.communicate()
    deadline = time.time() + 60
    while any(pathlib.Path(f"/proc/{worker}/stat").exists() for worker in workers):
        assert time.time() < deadline, "a worker outlives its killed parent"
        time.sleep(0.1)
    output, _ = commands.run(*commands.SHAPES, f"--output_dir={directory}", "--num_workers=2")
    assert commands.content(directory) == expected
    return output


def _until_first_shard(directory):
    def wait(process):
        while process.poll() is None and not list(directory.glob("*.tfrecord.json")):
            time.sleep(0.02)

    return wait


def test_kill_and_resume_gives_the_same_bytes(commands, shapes_dir, tmp_path):
    output = _kill_and_resume(
        commands,
        tmp_path / "out",
        commands.content(shapes_dir),
        _until_first_shard(tmp_path / "out"),
    )
    assert "continuing: " in output


@pytest.mark.slow
@pytest.mark.parametrize("trial", range(8))
def test_kill_at_any_time(commands, shapes_dir, tmp_path, trial):
    _kill_and_resume(
        commands,
        tmp_path / "out",
        commands.content(shapes_dir),
        lambda _: time.sleep(random.Random(trial).uniform(0.1, 12)),
    )


def test_sigterm_and_a_killed_worker_end_resumable(commands, shapes_dir, tmp_path):
    out = tmp_path / "out"
    process = commands.start(*commands.SHAPES, f"--output_dir={out}", "--num_workers=1")
    _until_first_shard(out)(process)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.count("\n")) == (75, 1), errors
    assert not list(out.glob("*.tmp-*"))
    # A shard that changed since is made again.
    done = next(path for path in sorted(out.glob("*.tfrecord")))
    done.write_bytes(done.read_bytes()[:-1] + b"\0")
    process = commands.start(*commands.SHAPES, f"--output_dir={out}", "--num_workers=1")
    while process.poll() is None and len(_children(process.pid)) < 2:
        time.sleep(0.02)
    # The first child is multiprocessing's resource tracker, the last is the worker.
    os.kill(_children(process.pid)[-1], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert (
        process.returncode == 75 and "a process was killed" in errors and "Traceback" not in errors
    )
    commands.run(*commands.SHAPES, f"--output_dir={out}")
    assert commands.content(out) == commands.content(shapes_dir)

"""The process a command runs in: TensorFlow starts silently, everything random is seeded."""

import os
import pathlib
import random
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.runs import machine

ROOT = pathlib.Path(__file__).parents[2]

QUIET = """
import sys
from ccssl_tf.runs import machine
tf = machine.quiet_tensorflow()
import keras
assert float(tf.reduce_sum(tf.ones([3, 3]))) == 9
print("tensorflow" in sys.modules, flush=True)
print("an error", file=sys.stderr)
"""


def test_tensorflow_starts_silently_and_errors_still_print():
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    finished = subprocess.run(
        [sys.executable, "-c", QUIET], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert (finished.returncode, finished.stdout) == (0, "True\n"), finished.stderr
    assert finished.stderr == "an error\n"


def test_cores_are_those_this_process_may_use(monkeypatch):
    assert 1 <= machine.num_cores() <= os.cpu_count()
    if hasattr(os, "sched_getaffinity"):
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3, 5})
        assert machine.num_cores() == 3
        monkeypatch.delattr(os, "sched_getaffinity")
    for count, cores in ((7, 7), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda count=count: count)
        assert machine.num_cores() == cores


@pytest.mark.parametrize(
    ("gpus", "driver", "hidden", "told"),
    [
        (0, False, False, "CPU"),
        (0, True, False, "CPU (a GPU is present; install '.[gpu]')"),
        (0, True, True, "CPU"),
        (1, True, False, "1 GPU"),
        (2, True, True, "2 GPUs"),
    ],
)
def test_the_devices_are_told(gpus, driver, hidden, told, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["gpu"] * gpus)
    monkeypatch.setattr(machine, "_NVIDIA_DRIVER", tmp_path if driver else tmp_path / "none")
    monkeypatch.setattr(machine.shutil, "which", lambda name: None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    machine.print_devices()
    assert capsys.readouterr().out == f"device: {told}\n"


def test_a_tool_of_the_driver_tells_of_a_gpu_too(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(machine, "_NVIDIA_DRIVER", tmp_path / "none")
    monkeypatch.setattr(machine.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if not tf.config.list_physical_devices("GPU"):
        machine.print_devices()
        assert "a GPU is present" in capsys.readouterr().out


def test_seed_everything_repeats():
    def draws(seed):
        machine.seed_everything(seed)
        return [
            random.random(),
            np.random.rand(),
            float(tf.random.uniform([])),
            float(keras.random.uniform([])),
        ]

    assert draws(3) == draws(3)
    assert not set(draws(3)) & set(draws(4))
    draws(2**31 - 1)


def test_the_commit_is_gits():
    root = pathlib.Path(__file__).resolve().parents[2]
    told = machine.source_commit()
    if not (root / ".git").exists():
        assert told is None
        return
    head = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    assert told is None or head.stdout.startswith(told.removesuffix("-dirty"))
    assert machine.source_commit() is told

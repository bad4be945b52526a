"""The process a command runs in: its cores, its seeds, and TensorFlow imported quietly, only inside
the functions that need it.
"""

import functools
import os
import pathlib
import platform
import random
import shutil
import subprocess
import sys

_NVIDIA_DRIVER = pathlib.Path("/proc/driver/nvidia")


def num_cores() -> int:
    """Returns the cores this process may use; not every system tells these, then all there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def quiet_tensorflow():
    """Imports TensorFlow without its start-up lines on stderr; later errors still print. Call
    before anything imports it.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        import tensorflow as tf

        # A process of a multi-worker job connects to the others before TensorFlow computes
        # anything.
        if "TF_CONFIG" not in os.environ:
            tf.constant(0)
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)
    return tf


def seed_everything(seed: int):
    """Seeds Python, NumPy, Keras initialisers and TensorFlow."""
    import keras
    import numpy as np

    random.seed(seed)
    np.random.seed(seed % 2**32)
    keras.utils.set_random_seed(seed % 2**32)


def print_devices():
    """Prints what TensorFlow computes on: the first line of every command that lets it."""
    import tensorflow as tf

    count = len(tf.config.list_physical_devices("GPU"))
    found = f"{count} GPU{'s' * (count > 1)}" if count else "CPU"
    # Whoever sets the variable may have hidden the GPU.
    if not count and "CUDA_VISIBLE_DEVICES" not in os.environ and _has_nvidia_driver():
        found += " (a GPU is present; install '.[gpu]')"
    print(f"device: {found}", flush=True)


def description() -> str:
    """Returns what computes here, e.g. "2 cores of AMD EPYC 7B13, 1 NVIDIA H100": of GPUs those
    that TensorFlow sees, where it has been imported.
    """
    cores = num_cores()
    parts = [f"{cores} core{'s' * (cores > 1)} of {_processor()}"]
    if "tensorflow" in sys.modules:
        import tensorflow as tf

        details = map(
            tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU")
        )
        names = [detail.get("device_name", "GPU") for detail in details]
        parts += [f"{names.count(name)} {name}" for name in sorted(set(names))]
    return ", ".join(parts)


@functools.cache
def _processor() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def visible_gpus() -> list[str]:
    """Returns the numbers or names of the GPUs that child processes may use, without TensorFlow."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name.strip() for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name]
    try:
        answer = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return []
    return answer.stdout.split()


def _has_nvidia_driver() -> bool:
    return _NVIDIA_DRIVER.exists() or shutil.which("nvidia-smi") is not None


@functools.cache
def source_commit() -> str | None:
    """Returns the commit of the checkout this program runs from, with "-dirty" where files differ
    from it; None where it is installed without one.
    """
    root = pathlib.Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        answer = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None  # No git, or a checkout of another user.
    return answer.stdout.strip() or None

"""`extract` and `cluster` killed at seeded random times and started again end with the bytes of an
undisturbed run.
"""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import conftest
import pytest

pytestmark = pytest.mark.slow
ROOT = pathlib.Path(__file__).parents[2]
NAMES = {
    "extract": ["*.tfrecord", "manifest.json", "metrics.json"],
    "cluster": [
        *("*.tfrecord", "centroids.npy", "manifest.json", "metrics.json", "nearest.json", "*.csv"),
    ],
}


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def run(*arguments):
    process = start(*arguments)
    _, errors = process.communicate(timeout=300)
    return process.returncode, errors.decode()


def contents(directory, patterns):
    return {
        path.name: path.read_bytes()
        for pattern in patterns
        for path in sorted(directory.glob(pattern))
    }


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """The two commands, without their --workdir, and the directories of undisturbed runs."""
    root = tmp_path_factory.mktemp("killed")
    conftest.write_images(root / "images", {"train": [300] * 4})
    extract = [
        *("ccssl_tf.extract", f"--data_dir={root / 'images'}", "--image_size=64", "--pool_grid=4"),
        *("--width_multiplier=0.5", "--batch_size=32"),
    ]
    assert run(*extract, f"--workdir={root / 'extract'}") == (0, "")
    cluster = [
        "ccssl_tf.cluster",
        f"--features_dir={root / 'extract'}",
        "--num_clusters=200",
        "--memory_gb=0.001",
        "--tolerance=0",
        "--max_cluster_share=0.012",
        "--near_duplicates=0.5",
    ]
    assert run(*cluster, f"--workdir={root / 'cluster'}") == (0, "")
    seconds = {
        name: json.loads((root / name / "timing.json").read_text())["seconds"] for name in NAMES
    }
    return dict(extract=extract, cluster=cluster), root, seconds


@pytest.mark.parametrize("stage", NAMES)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_stage_ends_with_the_same_bytes(stages, tmp_path, stage, how):
    commands, root, seconds = stages
    generator = random.Random(f"{stage} {how}")
    out = tmp_path / "out"
    stopped = 0
    for _ in range(3):
        process = start(*commands[stage], f"--workdir={out}")
        while process.poll() is None and not (out / "run.json").is_file():
            time.sleep(0.05)
        time.sleep(generator.uniform(0, seconds[stage] / 2))
        os.kill(process.pid, how)
        _, errors = process.communicate(timeout=60)
        assert process.returncode in (0, -how, 75), errors.decode()
        stopped += process.returncode != 0
        if process.returncode == 75:
            assert b"the same command continues" in errors
    assert stopped
    assert run(*commands[stage], f"--workdir={out}") == (0, "")
    assert contents(out, NAMES[stage]) == contents(root / stage, NAMES[stage])
    assert not list(out.glob("*.tmp-*"))

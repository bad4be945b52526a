"""Strategies and what workers tell each other, and training in two local processes: as one process,
stopped, killed and started again.
"""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf import distribution
from ccssl_tf.distribution import StrategySettings
from ccssl_tf.runs.errors import FlagError
from ccssl_tf.runs.json_files import read_json

ROOT = pathlib.Path(__file__).resolve().parent.parent


def test_one_device_is_one_worker_with_everything():
    strategy = tf.distribute.get_strategy()
    values = np.arange(3)
    assert (
        distribution.worker(strategy) == (0, 1)
        and distribution.is_chief()
        and distribution.local_replicas(strategy) == 1
    )
    assert (
        distribution.sum_over_workers(values, strategy)
        is values
        is distribution.concatenate_over_workers(values, strategy)
    )
    assert distribution.any_worker(True, strategy) is True
    assert distribution.part_of_worker(7) == slice(0, 7)
    batches = tf.data.Dataset.range(4).batch(2)
    assert (
        distribution.split_batches(batches, strategy)
        is batches
        is distribution.deal_batches(batches, strategy)
    )


def test_settings_name_the_strategies_there_are():
    assert StrategySettings().strategy == "auto"
    with pytest.raises(FlagError, match="^--strategy=tpu: must be one of auto, one, mirrored, mul"):
        StrategySettings(strategy="tpu")


def test_a_job_of_several_workers_is_asked_for_by_name_or_by_tf_config(monkeypatch):
    monkeypatch.setattr(distribution, "_multi_worker_strategy", lambda: "several")
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert distribution.make_strategy("one") is tf.distribute.get_strategy()
    assert distribution.make_strategy("multi_worker") == "several"
    monkeypatch.setenv("TF_CONFIG", config([1, 2]))
    assert distribution.make_strategy("auto") == "several"
    assert distribution.make_strategy("one") is tf.distribute.get_strategy()
    for alone in (config([1]), "{}", ""):
        monkeypatch.setenv("TF_CONFIG", alone)
        assert distribution.make_strategy("auto") is tf.distribute.get_strategy()


def config(ports, index=0):
    addresses = [f"localhost:{port}" for port in ports]
    return json.dumps(dict(cluster=dict(worker=addresses), task=dict(type="worker", index=index)))


def free_ports(count):
    servers = [socket.create_server(("", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports


class Job:
    """Two workers of one command."""

    def __init__(self, command):
        ports, self.processes = free_ports(2), []
        for index in range(2):
            environment = dict(os.environ, TF_CONFIG=config(ports, index))
            self.processes.append(
                subprocess.Popen(
                    command,
                    cwd=ROOT,
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )

    def wait_for(self, text):
        for line in self.processes[0].stdout:
            if text in line:
                return
        raise AssertionError(f"no {text!r}")

    def end(self):
        """Returns exit codes and last lines."""
        try:
            outputs = [process.communicate(timeout=400)[0] for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()
        return [process.returncode for process in self.processes], [
            (output.strip().splitlines() or [""])[-1] for output in outputs
        ]


def train_command(image_dir, workdir, *more):
    return [
        *(
            sys.executable,
            "-m",
            "ccssl_tf.train",
            "--task=jigsaw_pp",
            f"--data_dir={image_dir}",
            f"--workdir={workdir}",
        ),
        *(
            "--image_size=32",
            "--width_multiplier=0.1",
            "--num_permutations=10",
            "--permutations_per_image=2",
            "--tile_fc6_units=16",
        ),
        *(
            "--puzzle_fc7_units=32",
            "--batch_size=16",
            "--checkpoint_steps=3",
            "--health_images=16",
            "--log_steps=1",
            *more,
        ),
    ]


def result(workdir, steps):
    saved = tf.train.load_checkpoint(str(workdir / f"checkpoints/ckpt-{steps}"))
    names = [name for name in saved.get_variable_to_shape_map() if name.startswith("variables/")]
    return {name: saved.get_tensor(name) for name in names}, json.loads(
        (workdir / "metrics.json").read_text()
    )


@pytest.mark.slow
def test_two_processes_train_as_one_and_continue_after_a_signal_and_a_kill(image_dir, tmp_path):
    steps = "--train_steps=40"
    subprocess.run(
        train_command(image_dir, tmp_path / "one", steps), cwd=ROOT, check=True, capture_output=True
    )
    codes, lines = Job(train_command(image_dir, tmp_path / "two", steps)).end()
    assert codes == [0, 0], lines
    for number, how in ((1, signal.SIGTERM), (1, signal.SIGKILL), (0, signal.SIGKILL)):
        job = Job(train_command(image_dir, tmp_path / "broken", steps))
        job.wait_for("  loss ")
        time.sleep(0.5)
        job.processes[number].send_signal(how)
        codes, lines = job.end()
        assert codes[1 - number] == 75, (codes, lines)
        if how == signal.SIGTERM:
            assert codes[number] == 75 and all(
                "stopped by a signal at step" in line for line in lines
            ), lines
        else:
            last = lines[1 - number]
            assert "a peer went away: " in last and "Graph execution error" not in last, lines
    codes, lines = Job(train_command(image_dir, tmp_path / "broken", steps)).end()
    assert codes == [0, 0], lines
    one, two, broken = (result(tmp_path / name, 40) for name in ("one", "two", "broken"))
    assert two[1] == broken[1]
    for name, value in two[0].items():
        np.testing.assert_array_equal(value, broken[0][name], err_msg=name)
        # Sums in another order differ in their last bits, and 40 steps make that more.
        np.testing.assert_allclose(value, one[0][name], rtol=0.03, atol=0.03, err_msg=name)
    losses = [[record["loss"] for record in run[1]["history"]["train"]] for run in (one, two)]
    np.testing.assert_allclose(*(of_run[:5] for of_run in losses), rtol=1e-5)
    np.testing.assert_allclose(*losses, rtol=1e-2)
    assert {path.name for path in (tmp_path / "two").iterdir()} == {
        path.name for path in (tmp_path / "one").iterdir()
    }
    # The command's, and of one process the pictures' and those of the two curves.
    assert len(list((tmp_path / "two").glob("**/events.*"))) == 4


@pytest.mark.slow
def test_a_signal_ends_an_evaluation_of_several_workers_and_loses_no_step(image_dir, tmp_path):
    """As managers of clusters send it: to all. No checkpoint is due before the evaluation."""
    steps = ["--train_steps=8", "--checkpoint_steps=8", "--eval_steps=5", "--eval_batch_size=1"]
    job = Job(train_command(image_dir, tmp_path / "run", *steps))
    job.wait_for("  5/8 steps")
    for process in job.processes:
        process.send_signal(signal.SIGTERM)
    codes, lines = job.end()
    assert codes == [75, 75], lines
    assert (tmp_path / "run/checkpoints/ckpt-5.index").is_file()
    assert not (tmp_path / "run/checkpoints/ckpt-8.index").is_file()


@pytest.mark.slow
def test_two_processes_extract_and_cluster_as_one(image_dir, tmp_path):
    def extract(name):
        options = [
            "--width_multiplier=0.1",
            "--image_size=32",
            "--batch_size=8",
            "--endpoint=conv3",
            "--split=train",
        ]
        return [
            sys.executable,
            "-m",
            "ccssl_tf.extract",
            f"--data_dir={image_dir}",
            f"--workdir={tmp_path / name}",
            *options,
        ]

    def cluster(name, features):
        options = [
            f"--features_dir={tmp_path / features}",
            "--num_clusters=5",
            f"--workdir={tmp_path / name}",
        ]
        return [sys.executable, "-m", "ccssl_tf.cluster", *options]

    for command in (extract("one"), cluster("clusters-one", "one")):
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    for command in (extract("two"), cluster("clusters-two", "two")):
        codes, lines = Job(command).end()
        assert codes == [0, 0], lines
    for one, two in (("one", "two"), ("clusters-one", "clusters-two")):
        one, two = tmp_path / one, tmp_path / two
        assert {path.name for path in one.iterdir()} == {path.name for path in two.iterdir()}
        for path in one.glob("*.tfrecord"):
            assert path.read_bytes() == (two / path.name).read_bytes(), path.name
    centroids = [
        np.load(tmp_path / name / "centroids.npy") for name in ("clusters-one", "clusters-two")
    ]
    np.testing.assert_allclose(*centroids, rtol=1e-6, atol=1e-7)
    metrics = [
        read_json(tmp_path / name / "metrics.json", remedy="")
        for name in ("clusters-one", "clusters-two")
    ]
    assert metrics[0].pop("inertia") == pytest.approx(metrics[1].pop("inertia"), rel=1e-6)
    assert metrics[0] == metrics[1]


MIRRORED = """
import sys
sys.path.insert(0, sys.argv[1])
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from ccssl_tf import distribution, extract
strategy = distribution.make_strategy("mirrored")
assert strategy.num_replicas_in_sync == 2

def batches(count):
    rows = lambda i: dict(x=tf.range(4) + i * 4, weight=tf.ones([4]))
    return tf.data.Dataset.range(count).map(lambda i: rows(tf.cast(i, tf.int32)))

def seen(dataset, name):
    local = strategy.experimental_local_results
    return [[value.numpy().tolist() for value in local(batch[name])] for batch in dataset]

split = distribution.split_batches(batches(2), strategy)
assert seen(split, "x") == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]
dealt = lambda: distribution.deal_batches(batches(3), strategy)
assert seen(dealt(), "x") == [[[0, 1, 2, 3], [4, 5, 6, 7]], [[8, 9, 10, 11], [0, 1, 2, 3]]]
assert seen(dealt(), "weight") == [[[1.0] * 4] * 2, [[1.0] * 4, [0.0] * 4]]
extract.main(extract.COMMAND.parse(["--strategy=mirrored", *sys.argv[2:]]))
print("dealt and extracted")
"""


@pytest.mark.slow
def test_two_logical_devices_extract_the_same_bytes_and_are_dealt_batches(image_dir, tmp_path):
    options = [
        "--width_multiplier=0.1",
        "--image_size=32",
        "--batch_size=5",
        "--endpoint=conv3",
        f"--data_dir={image_dir}",
    ]
    command = [sys.executable, "-m", "ccssl_tf.extract", f"--workdir={tmp_path / 'one'}", *options]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    command = [sys.executable, "-c", MIRRORED, str(ROOT), f"--workdir={tmp_path / 'two'}", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ["dealt and extracted"], done.stdout + done.stderr
    for path in (tmp_path / "one").glob("*.tfrecord"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name

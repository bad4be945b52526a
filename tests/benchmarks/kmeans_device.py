r"""Measures k-means on devices: mini-batches and Lloyd's passes as TensorFlow functions.

    python -m tests.benchmarks.kmeans_device [--parts=minibatch,lloyd,host] [--features_dir=DIR] \
        [--num_clusters=1000] [--rounds=3]
    python -m tests.benchmarks.kmeans_device --gpu

Minibatch: the time until scikit-learn's MiniBatchKMeans's final inertia is reached, beside its
time; same start, same batch size, in turns (as `tests.benchmarks.minibatch_kmeans`). Lloyd:
distances a second of whole passes beside faiss, in turns. Host: the share of a mini-batch's time
at B = 1,024, D = 9,600, K = 2,000 that is spent outside of the TensorFlow function. --gpu: the
passes of the paper's problem on a GPU, as a fraction of its time for matrix products alone, and
the time for 1.28 M rows beside the paper's four hours.
"""

import dataclasses
import statistics
import time

import numpy as np
import tensorflow as tf

from ccssl_tf.clustering.device import lloyd
from ccssl_tf.clustering.device.minibatch import MinibatchSteps
from ccssl_tf.clustering.device.minibatch_state import MinibatchState
from ccssl_tf.clustering.device.minibatches import Minibatches
from ccssl_tf.clustering.device.nearest import exact_float32
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader
from ccssl_tf.clustering.rows.sources import ArraySource
from ccssl_tf.runs.command import Command
from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.launch import launch
from ccssl_tf.runs.settings import setting
from ccssl_tf.runs.values import Values
from tests.benchmarks import minibatch_kmeans
from tests.benchmarks.kmeans import RowsSettings, faiss_kmeans, first_centroids, read_rows

# The paper's problem, and how long it took on a Titan X (section 4.2).
_ROWS, _DIM, _CLUSTERS, _BATCH_ROWS, _PAPER_HOURS = 1_281_167, 9600, 2000, 1024, 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeviceSettings(RowsSettings):
    """What is measured."""

    parts: tuple[str, ...] = setting(
        ("minibatch", "lloyd", "host"),
        "What is measured.",
        choices=["minibatch", "lloyd", "host"],
    )
    minibatch_size: int = setting(1024, "Rows a batch, on both sides.", minimum=1)
    iterations: int = setting(5, "Passes of Lloyd.", minimum=1)
    gpu: bool = setting(False, "Only the paper's problem, on a GPU.")


COMMAND = Command("tests.benchmarks.kmeans_device", __doc__, (DeviceSettings,))


def device_lloyd(rows, start, iterations):
    """Returns the centroids after so many passes."""
    reader = ChunkReader(ArraySource(rows), 4096, rows.nbytes)
    labels, sums = np.full(len(rows), -1, np.int32), np.zeros(start.shape)
    assignment = lloyd.DeviceAssignment(reader, labels, sums, strategy=tf.distribute.get_strategy())
    centroids = start
    for _ in range(iterations):
        result = assignment.step(centroids)
        means = result.sums / np.maximum(result.counts, 1)[:, None]
        centroids = np.where(result.counts[:, None] > 0, means, centroids).astype(np.float32)
    return centroids


def _ratios(ours, theirs):
    ratios = sorted(mine / other for mine, other in zip(ours, theirs, strict=True))
    return f"{ratios[0]:.2f} / {statistics.median(ratios):.2f} / {ratios[-1]:.2f}"


def compare_lloyd(settings, rows):
    """Prints distances a second beside faiss's."""
    start = first_centroids(rows, settings.num_clusters, seed=0)
    sides = {"ours": device_lloyd, "faiss": faiss_kmeans}
    for fit in sides.values():
        fit(rows[: 2 * len(start)], start, 1)
    speeds = {name: [] for name in sides}
    for number in range(settings.rounds):
        for name, fit in sides.items():
            started = time.perf_counter()
            fit(rows, start, settings.iterations)
            seconds = time.perf_counter() - started
            speeds[name].append(len(rows) * len(start) * settings.iterations / seconds)
            print(
                f"round {number + 1}  {name:6}{seconds:7.2f} s  {speeds[name][-1]:.3g} distances/s",
                flush=True,
            )
    print(
        f"device Lloyd: {_ratios(speeds['ours'], speeds['faiss'])} of faiss's distances a second "
        "(min / median / max)"
    )


def host_share(rounds):
    """Prints the share of a mini-batch's time that is spent outside of the TensorFlow function."""
    generator, count = np.random.default_rng(0), 16 * _BATCH_ROWS
    rows = generator.normal(size=(count, _DIM)).astype(np.float16)
    start = rows[:_CLUSTERS].astype(np.float32)
    reader = ChunkReader(ArraySource(rows), 4096, 4 * rows.nbytes)
    strategy = tf.distribute.get_strategy()
    shares, inside = [], []

    class Timed(MinibatchSteps):
        def run_kept(self, *arguments):
            started = time.perf_counter()
            progress = super().run_kept(*arguments)
            inside.append(time.perf_counter() - started)
            return progress

    batches = Minibatches(reader, strategy, num_clusters=_CLUSTERS, batch_rows=_BATCH_ROWS, seed=0)
    steps = Timed(MinibatchState.start(start, count), strategy, seed=0, reassignment_ratio=0.01)
    batches.rows.shares()
    for number in range(rounds + 1):
        inside.clear()
        started = time.perf_counter()
        for _ in batches.run_pass(steps, number, 0):
            steps.end_pass()
        seconds = time.perf_counter() - started
        if number:  # The first pass traces the function.
            shares.append(1 - sum(inside) / seconds)
            print(f"round {number}  {seconds / 16 * 1e3:.0f} ms a batch, host {shares[-1]:.3%}")
    print(
        f"host: {min(shares):.3%} / {statistics.median(shares):.3%} / {max(shares):.3%} of a "
        "batch's time (min / median / max)"
    )


def measure_gpu(rounds):
    """Prints how fast a GPU makes the passes of the paper's problem."""
    if not tf.config.list_logical_devices("GPU"):
        raise InputError("--gpu: TensorFlow sees no GPU here")
    generator, count = np.random.default_rng(0), 131_072
    rows = generator.standard_normal((count, _DIM), np.float32).astype(np.float16)
    start = rows[:_CLUSTERS].astype(np.float32)
    product = tf.function(lambda a, b: tf.reduce_sum(tf.matmul(a, b, transpose_b=True)))
    left, right = tf.random.normal([8192, _DIM]), tf.constant(start)
    with exact_float32():
        for repeats in (2, 50):
            began = time.perf_counter()
            for _ in range(repeats):
                result = product(left, right)
            result.numpy()
            alone = (time.perf_counter() - began) / repeats / 8192 * count
        device_lloyd(rows, start, 1)
        for number in range(rounds):
            began = time.perf_counter()
            device_lloyd(rows, start, 6)
            middle = time.perf_counter()
            device_lloyd(rows, start, 1)
            seconds = (2 * middle - began - time.perf_counter()) / 5
            hours = seconds * _ROWS / count * 100 / 3600
            print(
                f"round {number + 1}  {count} rows in {seconds:.3f} s, {alone / seconds:.0%} of "
                f"the speed of matrix products alone; 100 passes over {_ROWS} rows "
                f"{hours:.2f} h (paper: {_PAPER_HOURS} h)",
                flush=True,
            )


def main(values: Values):
    """Runs what is asked for."""
    settings = values[DeviceSettings]
    if settings.gpu:
        measure_gpu(settings.rounds)
        return
    rows = read_rows(settings) if {"minibatch", "lloyd"} & {*settings.parts} else None
    if "minibatch" in settings.parts:
        minibatch_kmeans.compare(settings, rows)
    if "lloyd" in settings.parts:
        compare_lloyd(settings, rows)
    if "host" in settings.parts:
        host_share(settings.rounds)


if __name__ == "__main__":
    launch(COMMAND, main)

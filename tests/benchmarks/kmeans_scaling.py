r"""Measures what a pass of k-means costs when the features do not fit the memory, and how its time
grows.

python -m tests.benchmarks.kmeans_scaling [--parts=streaming,memory,growth] [--rows=20000] \
    [--dim=4800] [--num_clusters=2000] [--rounds=5]

Streaming: a pass of `lloyd_plain` over float16 shards eight times as large as --memory_gb allows to
keep, beside the same pass from memory, in turns. Memory: the peak of a process of its own that
clusters these shards, and ten times as many, beside one that clusters next to nothing. Growth: the
least time of a pass against N, K and D, two sizes each, as exponents of a power law.
"""

import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

import numpy as np
from absl import flags

from ccssl_tf.clustering import KMeans
from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.data import records
from ccssl_tf.runs import launch

ROWS = flags.DEFINE_integer("rows", 20_000, "Rows N of the smaller data set.", lower_bound=1000)
DIM = flags.DEFINE_integer("dim", 4800, "Numbers a row, D.", lower_bound=16)
NUM_CLUSTERS = flags.DEFINE_integer("num_clusters", 2000, "Number of clusters K.", lower_bound=2)
PARTS = flags.DEFINE_list("parts", ["streaming", "memory", "growth"], "What is measured.")
ROUNDS = flags.DEFINE_integer("rounds", 5, "Times each side runs.", lower_bound=1)
PEAK_OF = flags.DEFINE_string(
    "peak_of",
    None,
    "Used by the benchmark itself: a feature directory to cluster, printing the peak memory.",
)
MEMORY_GB = flags.DEFINE_float(
    "memory_gb", None, "Memory for features; default: an eighth of the smaller data set."
)

_SHARD_ROWS = 1000


def write_features(directory, rows, dim):
    """Writes float16 shards of random rows with 40 directions in common, like
    `ccssl_tf.extract`.
    """
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True)
    mixing = np.random.default_rng(0).normal(size=[40, dim]).astype(np.float32)
    shards, count = [], -(-rows // _SHARD_ROWS)
    for number in range(count):
        size = min(_SHARD_ROWS, rows - number * _SHARD_ROWS)
        generator = np.random.default_rng(number)
        block = np.maximum(
            generator.normal(size=[size, 40]).astype(np.float32) @ mixing
            + generator.normal(size=[size, dim]),
            0,
        )
        index = np.arange(number * _SHARD_ROWS, number * _SHARD_ROWS + size)
        examples = [
            records.feature_example(index[at : at + 100], block[at : at + 100].astype(np.float16))
            for at in range(0, size, 100)
        ]
        shards.append(
            records.write_shard(
                directory / manifest_lib.shard_name("train", number, count),
                examples,
                num_examples=size,
            )
        )
    manifest_lib.Manifest("features", {"train": shards}, dict(dim=dim, dtype="float16")).write(
        directory
    )
    return directory


def pass_seconds(features, start, memory_gb, algorithm="lloyd_plain", passes=1):
    """Returns the seconds of the last of `passes` + 1 passes; in memory the rows are
    there by then.
    """
    found = []
    kmeans = KMeans(
        len(start),
        initialization=start,
        max_iterations=passes,
        algorithm=algorithm,
        memory_gb=memory_gb,
    )
    kmeans.fit(features, on_pass=lambda values: found.append(values["seconds"]))
    return found[-1]


def main():
    """Runs the measurements."""
    if PEAK_OF.value:
        start = (
            np.random.default_rng(0).normal(size=[NUM_CLUSTERS.value, DIM.value]).astype(np.float32)
        )
        for algorithm in ("lloyd_plain", "lloyd"):
            pass_seconds(PEAK_OF.value, start, MEMORY_GB.value, algorithm)
            print(json.dumps({algorithm: _peak_bytes()}), flush=True)
        return
    memory_gb = MEMORY_GB.value or ROWS.value * DIM.value * 2 / 2**30 / 8
    for part in PARTS.value:
        with tempfile.TemporaryDirectory() as root:
            dict(streaming=_measure_streaming, memory=_measure_memory, growth=_measure_growth)[
                part
            ](root, memory_gb)


def _measure_streaming(root, memory_gb):
    directory = write_features(f"{root}/1x", ROWS.value, DIM.value)
    start, ratios = (
        np.random.default_rng(1).normal(size=[NUM_CLUSTERS.value, DIM.value]).astype(np.float32),
        [],
    )
    for number in range(ROUNDS.value):
        kept, streamed = (pass_seconds(directory, start, memory) for memory in (1e3, memory_gb))
        ratios.append(streamed / kept)
        print(
            f"round {number + 1}  a pass from memory {kept:.2f} s, streamed {streamed:.2f} s: "
            f"{ratios[-1]:.3f}",
            flush=True,
        )
    print(
        f"streamed over from memory: {min(ratios):.3f} / {statistics.median(ratios):.3f} / "
        f"{max(ratios):.3f} (min / median / max)"
    )


def _measure_memory(root, memory_gb):
    counts = [2 * NUM_CLUSTERS.value, ROWS.value, 10 * ROWS.value]
    peaks = [
        _peak_of(write_features(f"{root}/{count}", count, DIM.value), memory_gb) for count in counts
    ]
    for algorithm in peaks[0]:
        shown = ", ".join(
            f"{found[algorithm] / 2**20:.0f} MB with {count} rows"
            for count, found in zip(counts, peaks, strict=True)
        )
        print(
            f"peak memory, {algorithm}: {shown}; memory for features {1024 * memory_gb:.0f} MB",
            flush=True,
        )


def _peak_of(directory, memory_gb):
    """Returns the peak memory of a process that clusters `directory` with each
    algorithm, in bytes.
    """
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.kmeans_scaling",
        f"--peak_of={directory}",
        f"--memory_gb={memory_gb}",
    ]
    command += [f"--dim={DIM.value}", f"--num_clusters={NUM_CLUSTERS.value}"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return {
        name: peak
        for line in lines
        if line.startswith("{")
        for name, peak in json.loads(line).items()
    }


def _peak_bytes():
    """Returns the most memory this process has had."""
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(
        next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]
    )


def _measure_growth(unused_root, unused_memory_gb):
    """Fits the seconds of a pass in memory ~ N^a K^b D^c, making each four times as large."""
    base = dict(rows=8000, clusters=1000, dim=2400)

    def measure(rows, clusters, dim):
        features = np.random.default_rng(2).normal(size=[rows, dim]).astype(np.float32)
        return min(pass_seconds(features, features[:clusters], 1e3) for _ in range(ROUNDS.value))

    once = measure(**base)
    for name in base:
        seconds = measure(**{**base, name: 4 * base[name]})
        print(
            f"a pass: {once:.2f} s, with four times the {name} {seconds:.2f} s: power "
            f"{np.log2(seconds / once) / 2:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    launch.launch(main, __doc__)

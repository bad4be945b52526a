r"""Measures what a pass of k-means costs when the memory is too small, and how its time grows.

    python -m tests.benchmarks.kmeans_scaling [--parts=streaming,memory,growth] [--rows=20000] \
        [--dim=4800] [--num_clusters=2000] [--rounds=5]
    python -m tests.benchmarks.kmeans_scaling --parts=paper --dim=9600

Streaming: a pass of `lloyd_plain` over float16 shards eight times as large as --memory_gb allows to
keep, beside the same pass from memory, in turns. Memory: the peak of a process of its own that
clusters these shards, and ten times as many, beside one that clusters next to nothing. Growth: the
shortest time of a pass against N, K and D, two sizes each, as exponents of a power law. Paper: what
a pass over the paper's 1.28 M rows takes, by the line through the seconds of half of --rows, of
--rows and of twice as many, streamed in processes of their own.
"""

import dataclasses
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

import numpy as np

from ccssl_tf.clustering import KMeans
from ccssl_tf.clustering.kmeans_settings import ALGORITHMS
from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.data import records
from ccssl_tf.runs.command import Command
from ccssl_tf.runs.launch import launch
from ccssl_tf.runs.settings import Settings, setting
from ccssl_tf.runs.values import Values


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScalingSettings(Settings):
    """What is measured."""

    rows: int = setting(20_000, "Rows N of the smaller data set.", minimum=1000)
    dim: int = setting(4800, "Numbers a row, D.", minimum=16)
    num_clusters: int = setting(2000, "Number of clusters K.", minimum=2)
    parts: tuple[str, ...] = setting(
        ("streaming", "memory", "growth"),
        "What is measured.",
        choices=["streaming", "memory", "growth", "paper"],
    )
    rounds: int = setting(5, "Times each side runs.", minimum=1)
    peak_of: str | None = setting(
        None,
        "Used by the benchmark itself: a feature directory to cluster, printing what it took.",
    )
    algorithm: str = setting("lloyd_plain", "Used with --peak_of.", choices=ALGORITHMS)
    memory_gb: float | None = setting(
        None,
        "Memory for features.",
        unit="GiB",
        automatic="an eighth of the smaller data set",
    )


COMMAND = Command("tests.benchmarks.kmeans_scaling", __doc__, (ScalingSettings,))
_SHARD_ROWS = 1000
_PAPER_ROWS = 1_281_167


def write_features(directory, rows, dim):
    """Writes float16 shards, like `ccssl_tf.extract`, of random rows with 40 common directions."""
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
    """Returns the seconds of the last of `passes` + 1 passes; kept rows are in memory by then."""
    seconds = []
    kmeans = KMeans(
        len(start),
        initialization=start,
        max_iterations=passes,
        algorithm=algorithm,
        memory_gb=memory_gb,
    )
    kmeans.fit(features, on_pass=lambda values: seconds.append(values["seconds"]))
    return seconds[-1]


def main(values: Values):
    """Runs the measurements."""
    settings = values[ScalingSettings]
    if settings.peak_of:
        start = _random_rows(0, settings.num_clusters, settings.dim)
        seconds = pass_seconds(settings.peak_of, start, settings.memory_gb, settings.algorithm)
        print(json.dumps({"seconds": seconds, "bytes": _peak_bytes()}), flush=True)
        return
    memory_gb = settings.memory_gb or settings.rows * settings.dim * 2 / 2**30 / 8
    for part in settings.parts:
        with tempfile.TemporaryDirectory() as root:
            dict(
                streaming=_measure_streaming,
                memory=_measure_memory,
                growth=_measure_growth,
                paper=_measure_paper,
            )[part](settings, root, memory_gb)


def _random_rows(seed, rows, dim):
    return np.random.default_rng(seed).normal(size=[rows, dim]).astype(np.float32)


def _measure_streaming(settings, root, memory_gb):
    directory = write_features(f"{root}/1x", settings.rows, settings.dim)
    start, ratios = _random_rows(1, settings.num_clusters, settings.dim), []
    for number in range(settings.rounds):
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


def _measure_memory(settings, root, memory_gb):
    counts = [2 * settings.num_clusters, settings.rows, 10 * settings.rows]
    directories = [write_features(f"{root}/{count}", count, settings.dim) for count in counts]
    for algorithm in ("lloyd_plain", "lloyd"):
        peaks = [_pass_of(path, settings, algorithm, memory_gb)["bytes"] for path in directories]
        shown = ", ".join(
            f"{peak / 2**20:.0f} MB with {count} rows"
            for count, peak in zip(counts, peaks, strict=True)
        )
        print(
            f"peak memory, {algorithm}: {shown}; memory for features {1024 * memory_gb:.0f} MB",
            flush=True,
        )


def _measure_paper(settings, root, memory_gb):
    counts = [settings.rows // 2, settings.rows, 2 * settings.rows]
    directories = [write_features(f"{root}/{count}", count, settings.dim) for count in counts]
    for algorithm in ("lloyd_plain", "minibatch"):
        passes = [_pass_of(path, settings, algorithm, memory_gb) for path in directories]
        seconds = [each["seconds"] for each in passes]
        each_row, once = np.polyfit(counts, seconds, 1)
        error = np.abs(once + each_row * np.array(counts) - seconds).max() / max(seconds)
        minutes = (once + each_row * _PAPER_ROWS) / 60
        print(
            f"{algorithm}, streamed: "
            + ", ".join(
                f"{count} rows {each:.2f} s" for count, each in zip(counts, seconds, strict=True)
            )
            + f" a pass (within {error:.1%} of a line); {_PAPER_ROWS} rows of "
            f"{2 * settings.dim * _PAPER_ROWS / 1e9:.1f} GB: {minutes:.1f} min a pass; peak "
            f"memory {max(each['bytes'] for each in passes) / 2**20:.0f} MB, features may "
            f"take {1024 * memory_gb:.0f}",
            flush=True,
        )


def _pass_of(directory, settings, algorithm, memory_gb):
    """Returns `seconds` of a pass over `directory` in a process, and its peak `bytes`."""
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.kmeans_scaling",
        f"--peak_of={directory}",
        f"--algorithm={algorithm}",
        f"--memory_gb={memory_gb}",
    ]
    command += [f"--dim={settings.dim}", f"--num_clusters={settings.num_clusters}"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return json.loads(next(line for line in lines if line.startswith("{")))


def _peak_bytes():
    """Returns the peak memory of this process, bytes."""
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(
        next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]
    )


def _measure_growth(settings, unused_root, unused_memory_gb):
    """Fits the seconds of a pass in memory ~ N^a K^b D^c, making each four times as large."""
    base = dict(rows=8000, clusters=1000, dim=2400)

    def measure(rows, clusters, dim):
        features = _random_rows(2, rows, dim)
        return min(pass_seconds(features, features[:clusters], 1e3) for _ in range(settings.rounds))

    once = measure(**base)
    for name in base:
        seconds = measure(**{**base, name: 4 * base[name]})
        print(
            f"a pass: {once:.2f} s, with four times the {name} {seconds:.2f} s: power "
            f"{np.log2(seconds / once) / 2:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    launch(COMMAND, main)

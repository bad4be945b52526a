r"""Measures mini-batch k-means beside scikit-learn's: same rows, same start, same batch size.

    python -m tests.benchmarks.minibatch_kmeans [--features_dir=DIR] [--num_clusters=1000] \
        [--minibatch_size=1024] [--rounds=3]

scikit-learn's MiniBatchKMeans runs with its own stopping rule. Ours runs twice: to its own stop,
and for as few passes as reach scikit-learn's final inertia, a number that is determined untimed.
All times include the last pass, which measures the inertia. The sides take turns.
"""

import contextlib
import dataclasses
import io
import statistics
import time

from sklearn.cluster import MiniBatchKMeans

from ccssl_tf.clustering import KMeans
from ccssl_tf.runs.command import Command
from ccssl_tf.runs.launch import launch
from ccssl_tf.runs.settings import setting
from ccssl_tf.runs.values import Values
from tests.benchmarks.kmeans import RowsSettings, first_centroids, read_rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkSettings(RowsSettings):
    """What is compared."""

    minibatch_size: int = setting(1024, "Rows a batch, on both sides.", minimum=1)


COMMAND = Command("tests.benchmarks.minibatch_kmeans", __doc__, (BenchmarkSettings,))


def ours(rows, start, batch_size, passes):
    """Returns the inertia after at most `passes` passes, and how many were made."""
    with contextlib.redirect_stdout(io.StringIO()):
        kmeans = KMeans(
            len(start),
            initialization=start,
            algorithm="minibatch",
            minibatch_size=batch_size,
            max_iterations=passes,
        )
        kmeans.fit(rows)
    return kmeans.inertia, kmeans.iterations


def scikit_learn(rows, start, batch_size):
    """Returns the final inertia, and how many passes were made."""
    kmeans = MiniBatchKMeans(
        len(start), init=start, n_init=1, batch_size=batch_size, random_state=0
    ).fit(rows)
    return float(kmeans.inertia_), kmeans.n_steps_ * batch_size / len(rows)


def main(values: Values):
    """Runs the comparison."""
    settings = values[BenchmarkSettings]
    compare(settings, read_rows(settings))


def compare(settings, rows):
    """Prints the times of both sides on rows [N, D]; settings: as `BenchmarkSettings`."""
    start = first_centroids(rows, settings.num_clusters, seed=0)
    batch_size = settings.minibatch_size
    target, passes = scikit_learn(rows, start, batch_size)
    print(
        f"{len(rows)} x {rows.shape[1]}, {len(start)} clusters; scikit-learn: inertia {target:.6g} "
        f"after {passes:.2f} passes",
        flush=True,
    )
    enough = next(
        (count for count in range(1, 20) if ours(rows, start, batch_size, count)[0] <= target), 20
    )
    sides = {
        "scikit-learn": lambda: scikit_learn(rows, start, batch_size),
        "ours to its inertia": lambda: ours(rows, start, batch_size, enough),
        "ours to its stop rule": lambda: ours(rows, start, batch_size, 100),
    }
    seconds = {name: [] for name in sides}
    for number in range(settings.rounds):
        for name, fit in sides.items():
            started = time.perf_counter()
            inertia, passes = fit()
            seconds[name].append(time.perf_counter() - started)
            print(
                f"round {number + 1}  {name:22}{seconds[name][-1]:7.2f} s  inertia {inertia:.6g}  "
                f"{passes:.2f} passes",
                flush=True,
            )
    for name in list(sides)[1:]:
        ratios = sorted(
            mine / theirs
            for mine, theirs in zip(seconds[name], seconds["scikit-learn"], strict=True)
        )
        print(
            f"{name}: {ratios[0]:.2f} / {statistics.median(ratios):.2f} / {ratios[-1]:.2f} of "
            "scikit-learn's time (min / median / max)"
        )


if __name__ == "__main__":
    launch(COMMAND, main)

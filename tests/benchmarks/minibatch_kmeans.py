r"""Measures mini-batch k-means beside scikit-learn's: same rows, same start, same batch size.

python -m tests.benchmarks.minibatch_kmeans --features_dir=DIR [--num_clusters=1000] \
    [--minibatch_size=1024] [--rounds=3]

scikit-learn's MiniBatchKMeans runs with its own stopping rule. Ours runs twice: to its own stop,
and for as few passes as reach scikit-learn's final inertia, found untimed. All times include the
last pass, which measures the inertia. The sides take turns.
"""

import contextlib
import io
import statistics
import time

import numpy as np
from absl import flags
from sklearn.cluster import MiniBatchKMeans

from ccssl_tf.clustering import KMeans, sources
from ccssl_tf.runs import launch
from ccssl_tf.runs.errors import FlagError

FEATURES_DIR = flags.DEFINE_string(
    "features_dir",
    None,
    "Feature directory, a workdir of ccssl_tf.extract; kept in memory as float32.",
)
NUM_CLUSTERS = flags.DEFINE_integer("num_clusters", 1000, "Number of clusters K.", lower_bound=1)
MINIBATCH_SIZE = flags.DEFINE_integer(
    "minibatch_size", 1024, "Rows a batch, on both sides.", lower_bound=1
)
ROUNDS = flags.DEFINE_integer("rounds", 3, "Times each side runs.", lower_bound=1)


def ours(rows, start, passes):
    """Returns the inertia after at most `passes` passes, and how many were made."""
    with contextlib.redirect_stdout(io.StringIO()):
        kmeans = KMeans(
            len(start),
            initialization=start,
            algorithm="minibatch",
            minibatch_size=MINIBATCH_SIZE.value,
            max_iterations=passes,
        )
        kmeans.fit(rows)
    return kmeans.inertia, kmeans.iterations


def scikit_learn(rows, start):
    """Returns the final inertia, and how many passes were made."""
    kmeans = MiniBatchKMeans(
        len(start), init=start, n_init=1, batch_size=MINIBATCH_SIZE.value, random_state=0
    ).fit(rows)
    return float(kmeans.inertia_), kmeans.n_steps_ * MINIBATCH_SIZE.value / len(rows)


def main():
    """Runs the comparison."""
    if not FEATURES_DIR.value:
        raise FlagError("--features_dir: not given; name a workdir of ccssl_tf.extract")
    rows = np.concatenate(list(sources.DirectorySource(FEATURES_DIR.value).chunks(4096))).astype(
        np.float32
    )
    start = rows[np.random.default_rng(0).choice(len(rows), NUM_CLUSTERS.value, replace=False)]
    target, passes = scikit_learn(rows, start)
    print(
        f"{len(rows)} x {rows.shape[1]}, {len(start)} clusters; scikit-learn: inertia {target:.6g} "
        f"after {passes:.2f} passes",
        flush=True,
    )
    enough = next((number for number in range(1, 20) if ours(rows, start, number)[0] <= target), 20)
    sides = {
        "scikit-learn": lambda: scikit_learn(rows, start),
        "ours to its inertia": lambda: ours(rows, start, enough),
        "ours to its own stop": lambda: ours(rows, start, 100),
    }
    seconds = {name: [] for name in sides}
    for number in range(ROUNDS.value):
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
    launch.launch(main, __doc__)

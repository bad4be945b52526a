r"""Measures the exact k-means beside faiss, scikit-learn, scikit-learn-intelex and SuperKMeans.

    python -m tests.benchmarks.kmeans [--features_dir=DIR] [--num_clusters=1000] \
        [--iterations=50] [--rounds=3] [--contenders=...]

Features of real photos, 15,000 x 4800: `ccssl_tf.extract --endpoint=conv4 --pool_grid=5
--image_size=64` of `../shared/data/imagenet64`. The sides take turns in one process, on the same
rows, from the same start. All make as many iterations as ours needs until no label changes, or
--iterations. Those that compute every distance are also compared by distances a second: n
iterations are n passes over the rows where centroids are all that is asked for, and one more where
labels and inertia are. Then it is checked, untimed, that every pass of `lloyd` gives the labels
that computing every distance from the same centroids gives; where two labels differ, the distances
must be equal within float32 rounding. SuperKMeans (`superkmeans`, and that of faiss) draws a start
of its own and is not exact: the inertias say what its time is worth. `pip install faiss-cpu
scikit-learn-intelex superkmeans` is not needed: what cannot be imported is skipped.
"""

import contextlib
import dataclasses
import io
import statistics
import time
import warnings

import numpy as np
from sklearn.cluster import KMeans as SklearnKMeans

from ccssl_tf.clustering import KMeans
from ccssl_tf.clustering.host import distances, plain
from ccssl_tf.clustering.host.accelerated import AcceleratedAssignment
from ccssl_tf.clustering.host.block_threads import chunk_rows
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader
from ccssl_tf.clustering.rows.sources import ArraySource
from ccssl_tf.data.feature_directory import DirectorySource
from ccssl_tf.runs.command import Command
from ccssl_tf.runs.launch import launch
from ccssl_tf.runs.settings import Settings, setting
from ccssl_tf.runs.values import Values


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowsSettings(Settings):
    """What is clustered."""

    features_dir: str | None = setting(
        None,
        "Feature directory, a workdir of ccssl_tf.extract; kept in memory as float32.",
        automatic="rows are drawn",
    )
    drawn_rows: int = setting(20_000, "Without --features_dir: number of rows.", minimum=64)
    drawn_dim: int = setting(1024, "Without --features_dir: numbers of a row.", minimum=16)
    num_clusters: int = setting(1000, "Number of clusters K.", minimum=1)
    rounds: int = setting(3, "Times every contender runs.", minimum=1)


def read_rows(settings: RowsSettings) -> np.ndarray:
    """Returns all rows, [N, D] float32: of the feature directory, or drawn.

    Those that are drawn lie like features of networks: around 2,000 centres, most of the variance
    along few of many directions.
    """
    if settings.features_dir:
        chunks = DirectorySource(settings.features_dir).chunks(4096)
        return np.concatenate(list(chunks)).astype(np.float32)
    generator = np.random.default_rng(0)
    count, dim = settings.drawn_rows, settings.drawn_dim
    scales = np.arange(1, dim + 1, dtype=np.float32) ** -0.5
    directions = np.linalg.qr(generator.normal(size=(dim, dim)))[0].astype(np.float32)
    centres = generator.normal(size=(2000, dim)).astype(np.float32)
    rows = generator.normal(size=(count, dim)).astype(np.float32)
    rows += centres[generator.integers(len(centres), size=count)]
    return (rows * scales) @ directions


def first_centroids(rows, num_clusters, seed) -> np.ndarray:
    """Returns `num_clusters` different rows, drawn at random."""
    return rows[np.random.default_rng(seed).choice(len(rows), num_clusters, replace=False)]


def ours(algorithm):
    """Returns the contender that is our KMeans with this algorithm."""

    def fit(rows, start, iterations):
        kmeans = KMeans(
            len(start), initialization=start, max_iterations=iterations, algorithm=algorithm
        )
        return kmeans.fit(rows, on_pass=lambda values: None).centroids

    return fit


def scikit_learn(algorithm):
    """Returns the contender that is scikit-learn's KMeans with this algorithm."""

    def fit(rows, start, iterations):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kmeans = SklearnKMeans(
                len(start), init=start, n_init=1, max_iter=iterations, tol=0, algorithm=algorithm
            )
            return kmeans.fit(rows).cluster_centers_

    return fit


def faiss_kmeans(rows, start, iterations):
    """faiss with all rows and the given start: centroids alone.

    That is one pass less than what also gives the labels they make.
    """
    return _faiss_trained(rows, start, iterations).centroids


def faiss_kmeans_and_labels(rows, start, iterations):
    """faiss, and the nearest of the final centroids for every row, which the others give, too."""
    kmeans = _faiss_trained(rows, start, iterations)
    kmeans.assign(rows)
    return kmeans.centroids


def _faiss_trained(rows, start, iterations):
    import faiss

    kmeans = faiss.Kmeans(
        rows.shape[1],
        len(start),
        niter=iterations,
        max_points_per_centroid=len(rows),
        min_points_per_centroid=1,
    )
    kmeans.train(rows, init_centroids=start)
    return kmeans


def intelex(rows, start, iterations):
    """scikit-learn-intelex's KMeans, without patching scikit-learn for the others."""
    from sklearnex.cluster import KMeans as IntelexKMeans

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return (
            IntelexKMeans(
                len(start), init=start, n_init=1, max_iter=iterations, tol=0, algorithm="lloyd"
            )
            .fit(rows)
            .cluster_centers_
        )


def super_kmeans(rows, start, iterations):
    """SuperKMeans on all rows; it draws a start of its own and skips what probably is no nearer."""
    import superkmeans

    kmeans = superkmeans.SuperKMeans(
        len(start),
        rows.shape[1],
        hierarchical=False,
        iters=iterations,
        sampling_fraction=1.0,
        max_points_per_cluster=len(rows),
        early_termination=False,
    )
    return np.asarray(kmeans.train(rows))


def faiss_super_kmeans(rows, start, iterations):
    """faiss's SuperKmeans, in the same way."""
    import faiss

    kmeans = faiss.SuperKmeans(
        rows.shape[1], len(start), niter=iterations, max_points_per_centroid=len(rows)
    )
    kmeans.train(rows)
    return kmeans.centroids


ALL = {
    "lloyd": ours("lloyd"),
    "lloyd_plain": ours("lloyd_plain"),
    "faiss": faiss_kmeans,
    "faiss_labels": faiss_kmeans_and_labels,
    "sklearn_lloyd": scikit_learn("lloyd"),
    "sklearn_elkan": scikit_learn("elkan"),
    "sklearnex": intelex,
    "superkmeans": super_kmeans,
    "faiss_super": faiss_super_kmeans,
}

# Those that compute every distance, and how many passes n iterations are beside n.
PLAIN = {"lloyd_plain": 1, "faiss": 0, "faiss_labels": 1}


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkSettings(RowsSettings):
    """What is compared."""

    iterations: int = setting(50, "Updates of the centroids, at most.", minimum=1)
    contenders: tuple[str, ...] | None = setting(
        None, "Which of them run.", choices=tuple(ALL), automatic="all there are"
    )
    check_labels: bool = setting(
        True, "Compare the labels of every pass with those of computing all distances."
    )
    start_seed: int = setting(0, "Of the rows that are the first centroids.")


COMMAND = Command("tests.benchmarks.kmeans", __doc__, (BenchmarkSettings,))


def main(values: Values):
    """Runs the comparison."""
    settings = values[BenchmarkSettings]
    rows = read_rows(settings)
    start = first_centroids(rows, settings.num_clusters, settings.start_seed)
    contenders = _importable(rows[:64], {name: ALL[name] for name in settings.contenders or ALL})
    passes = []
    with contextlib.redirect_stdout(io.StringIO()):
        kmeans = KMeans(len(start), initialization=start, max_iterations=settings.iterations).fit(
            rows, on_pass=passes.append
        )
    iterations = kmeans.iterations
    computed = sum(values["computed"] for values in passes)
    print(
        f"{len(rows)} x {rows.shape[1]}, {len(start)} clusters, {iterations} iterations; lloyd "
        f"computes {computed:.2f} of {len(passes)} "
        "passes' distances",
        flush=True,
    )
    seconds, inertias = {name: [] for name in contenders}, {}
    for number in range(settings.rounds):
        for name, fit in contenders.items():
            started = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                centroids = fit(rows, start, iterations)
            seconds[name].append(time.perf_counter() - started)
            inertias[name] = inertia(rows, np.asarray(centroids, np.float32))
            print(
                f"round {number + 1}  {name:14}{seconds[name][-1]:8.2f} s  inertia "
                f"{inertias[name]:.6g}",
                flush=True,
            )
    _print_ratios(seconds, inertias)
    _print_speeds(seconds, rows.size * len(start), iterations)
    if settings.check_labels:
        _check_labels(rows, start, iterations)


def inertia(rows, centroids):
    """Returns the sum of squared distances of the rows to their nearest centroids."""
    total, norms = 0.0, np.sum(centroids**2, axis=1)
    for at in range(0, len(rows), 1024):
        some = rows[at : at + 1024]
        nearest = centroids[np.argmin(norms - 2 * some @ centroids.T, axis=1)]
        total += float(np.sum((some - nearest) ** 2, dtype=np.float64))
    return total


def _importable(rows, contenders):
    """Returns those that run on a few rows: their libraries are there and warm."""
    runnable = {}
    for name, fit in contenders.items():
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                fit(rows, rows[:4], 2)
            runnable[name] = fit
        except ImportError as error:
            print(f"{name}: skipped ({error})", flush=True)
    return runnable


def _print_ratios(seconds, inertias):
    for side in ("lloyd", "lloyd_plain"):
        if side not in seconds:
            continue
        print(f"\neach beside {side}: time (min / median / max over rounds), inertia, median")
        for name, times in seconds.items():
            ratios = sorted(a / b for a, b in zip(times, seconds[side], strict=True))
            print(
                f"  {name:14}{ratios[0]:7.2f} /{statistics.median(ratios):6.2f} /{ratios[-1]:6.2f} "
                "  "
                f"{inertias[name] / inertias[side] - 1:+.1e}   {statistics.median(times):.2f} s",
                flush=True,
            )


def _print_speeds(seconds, products, iterations):
    speeds = {
        name: [2e-9 * products * (iterations + PLAIN[name]) / time for time in seconds[name]]
        for name in PLAIN
        if name in seconds
    }
    if "lloyd_plain" not in speeds:
        return
    print(
        "\nspeed of lloyd_plain beside each that computes every distance: min / median / max over "
        "rounds"
    )
    for name, values in speeds.items():
        ratios = sorted(a / b for a, b in zip(speeds["lloyd_plain"], values, strict=True))
        print(
            f"  {name:14}{ratios[0]:7.2f} /{statistics.median(ratios):6.2f} /{ratios[-1]:6.2f}   "
            f"{statistics.median(values):.0f} GFLOP/s in {iterations + PLAIN[name]} passes",
            flush=True,
        )


def _check_labels(rows, start, iterations):
    """Compares each pass's labels with those of all distances from the same centroids."""
    size = chunk_rows(*rows.shape, len(start))
    reader = ChunkReader(ArraySource(rows), size, rows.nbytes)
    fast = AcceleratedAssignment(reader, np.full(len(rows), -1, np.int32), np.zeros(start.shape))
    centroids, different, largest = start, 0, 0.0
    for _ in range(iterations + 1):
        result = fast.step(centroids)
        all_distances, _ = plain.nearest(reader, centroids)
        for row in np.flatnonzero(all_distances != result.labels):
            ours_, theirs = (
                distances.exact_squares(rows[row], centroids[labels[row]][None])[0]
                for labels in (result.labels, all_distances)
            )
            different, largest = different + 1, max(largest, abs(ours_ / theirs - 1))
        means = result.sums / np.maximum(result.counts, 1)[:, None]
        centroids = np.where(result.counts[:, None] > 0, means, centroids).astype(np.float32)
    print(
        f"\nlabels of {iterations + 1} passes beside those of all distances in float32: "
        f"{different} of "
        f"{(iterations + 1) * len(rows)} differ; their squared distances by at most {largest:.1e} "
        "of themselves"
    )


if __name__ == "__main__":
    launch(COMMAND, main)

"""K-means over features that need not fit in memory (section 4.2: Lloyd's, Euclidean distances, K =
2000; `minibatch` beside it).

Distances are float32, |x|^2 - 2 x.c + |c|^2 of rows shifted by a common vector (so that a large
mean costs no precision); the distance to the nearest centroid is then computed directly, and
centroids are float64 means. Rows go through in chunks of a size that depends on D and K alone:
memory is bounded, and the result does not depend on where the rows are kept.
"""

import contextlib
import hashlib
import os
import time

import numpy as np
import tensorflow as tf

from ccssl_tf import distribution
from ccssl_tf.clustering import (
    assignment,
    checkpoint,
    distributed,
    minibatch_fit,
    preprocessing,
    restarts,
    sources,
    starts,
)
from ccssl_tf.clustering.accelerated import AcceleratedAssignment
from ccssl_tf.clustering.pass_log import PassLog, print_pass
from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.files import file_sha256, fingerprint_of

_ASSIGNMENTS = {"lloyd": AcceleratedAssignment, "lloyd_plain": assignment.PlainAssignment}
ALGORITHMS = (*_ASSIGNMENTS, "minibatch")
INITIALIZATIONS = starts.NAMES


class KMeans:
    """K-means with scikit-learn's meaning of the results.

    Attributes (after `fit`):
      centroids: [K, D] float32.
      inertia: float, sum over rows of the squared distance to the nearest of `centroids`.
      iterations: int, passes that updated the centroids; with "minibatch" those begun.
      cluster_sizes: [K] int64, rows nearest to each centroid.
      preprocessing: what is done to rows first, also by `assign`, `preprocessing.Preprocessing`;
      None: nothing. empty_clusters: int, how many of them are 0: there are fewer than K different
      rows, or the fit was stopped early.
    """

    def __init__(
        self,
        num_clusters: int,
        *,
        algorithm: str = "lloyd",
        initialization="k-means++",
        max_iterations: int = 300,
        tolerance: float = 0.0,
        seed: int = 0,
        memory_gb: float = 4.0,
        restarts: int = 1,
        minibatch_size: int = 1024,
        max_no_improvement: int = 10,
        reassignment_ratio: float = 0.01,
        checkpoint_seconds: float = 60.0,
        pca_dim: int = 0,
        whiten: bool = False,
        l2_normalize: bool = False,
        strategy=None,
    ):
        """Sets what is to be computed; `fit` computes it.

        Args:
          num_clusters: K, at least 1.
          algorithm: "lloyd", exact, accelerated: skips the distances that cannot matter;
            "lloyd_plain", exact, computes all; "minibatch", Sculley's: see `minibatch`.
          initialization: "k-means++" (greedy, on a uniform sample), "k-means||" (all rows, in 5 or
            6 passes), "random" (rows), an array [K, D] or the path of one, `.npy`.
          max_iterations: most updates of the centroids (mini-batch: passes); one more pass measures
            the inertia of the last ones.
          tolerance: stop when a pass lowers the inertia by at most this share of it; 0: when it, or
            the assignments, no longer change.
          seed: of the start and the order of mini-batches.
          memory_gb: features up to this size are kept in memory (float16 as float32, which is
            faster, if that fits, too), others are read again on each pass; also bounds the sample.
          restarts: fits from different starts, of which the one with the lowest inertia is kept.
          minibatch_size, max_no_improvement, reassignment_ratio: of "minibatch": rows a batch;
            batches without a lower smoothed inertia after which it stops, 0: never; clusters with
            fewer rows than this share of the largest one's get rows of others.
          checkpoint_seconds: least time between two checkpoints inside a pass.
          pca_dim, whiten, l2_normalize: done first, see `preprocessing`; centroids and distances
            are those of the rows this gives.
          strategy: a tf.distribute strategy whose replicas share the rows; by default the current
            one. All workers must call the same methods with the same rows; the chief alone writes
            checkpoints, in storage that all of them share.

        Raises:
          InputError: a value that can never be right.
        """
        if num_clusters < 1:
            raise InputError(f"num_clusters={num_clusters}: at least one cluster is needed")
        if algorithm not in ALGORITHMS:
            raise InputError(f"algorithm={algorithm!r}: unknown; there are {', '.join(ALGORITHMS)}")
        given = not isinstance(initialization, str) or initialization.endswith(".npy")
        if not given and initialization not in INITIALIZATIONS:
            raise InputError(
                f"initialization={initialization!r}: unknown; there are "
                f"{', '.join(INITIALIZATIONS)}, an array [K, D] or its .npy"
            )
        if max_iterations < 1 or not tolerance >= 0:
            raise InputError(
                f"max_iterations={max_iterations}, tolerance={tolerance}: they must be at least 1 "
                "and 0"
            )
        if minibatch_size < 1 or max_no_improvement < 0 or not 0 <= reassignment_ratio < 1:
            raise InputError(
                f"minibatch_size={minibatch_size}, max_no_improvement={max_no_improvement}, "
                f"reassignment_ratio={reassignment_ratio}: they "
                "must be at least 1, at least 0 and in [0, 1)"
            )
        if restarts < 1 or (restarts > 1 and given and algorithm != "minibatch"):
            raise InputError(
                f"restarts={restarts}: at least 1; and 1 where the first centroids are given, "
                "every fit would be the same"
            )
        self._strategy = strategy or tf.distribute.get_strategy()
        if algorithm == "minibatch" and distribution.worker(self._strategy)[1] > 1:
            raise InputError(
                "algorithm='minibatch' runs in one process; several workers share the rows of "
                "lloyd and lloyd_plain"
            )
        self.num_clusters = num_clusters
        self._algorithm, self._initialization, self._seed = algorithm, initialization, seed
        self._max_iterations, self._tolerance = max_iterations, tolerance
        self._memory_bytes = int(memory_gb * 2**30)
        self._restarts, self._checkpoint_seconds = restarts, checkpoint_seconds
        self._minibatch = dict(
            batch_rows=minibatch_size,
            max_no_improvement=max_no_improvement,
            reassignment_ratio=reassignment_ratio,
        )
        self._options = preprocessing.Options(pca_dim, whiten, l2_normalize)
        self.preprocessing = self.centroids = self.inertia = self.iterations = (
            self.cluster_sizes
        ) = self.empty_clusters = None

    def fit(self, features, *, checkpoint_path=None, on_pass=None, should_stop=None) -> "KMeans":
        """Finds the centroids.

        Args:
          features: [N, D] array, tf.data.Dataset of [B, D] (same rows in the same order on every
            pass), or path of a feature directory.
          checkpoint_path: an `.npz` written after every pass; if it is there, the fit continues
            from it, on CPU to the same bits.
          on_pass: called with a dict after each pass: iteration, inertia (mini-batch: smoothed),
            moved (share of rows), empty_clusters, split_clusters (got rows of others before it),
            imbalance (1: equal sizes), computed (share of all distances), gflops, seconds, gb_read,
              eta_seconds (at most), sizes [K].
          should_stop: asked between chunks; True ends the fit with `Interrupted`.

        Raises:
          InputError: K > N, no rows, rows of another D than the initial centroids, NaN or infinity
            in an array.
          CorruptArtifactError: damaged shards, or NaN or infinity in one.
          Interrupted: `should_stop` said so.
        """
        source = sources.open_source(features, self._memory_bytes)
        if self.num_clusters > source.num_examples:
            raise InputError(
                f"num_clusters={self.num_clusters}: more clusters than the {source.num_examples} "
                "rows there are"
            )
        if self._options:
            path = checkpoint_path and f"{checkpoint_path}.preprocessing"
            self.preprocessing = preprocessing.fit_or_load(
                source, self._options, path, strategy=self._strategy, should_stop=should_stop
            )
            source = self.preprocessing.applied_to(source)
        reader = self._reader(source, self._memory_bytes, should_stop)
        identity = self._identity(source) if checkpoint_path else None
        log = PassLog(
            source.num_examples,
            source.dim,
            self.num_clusters,
            self._max_iterations + 1,
            on_pass or print_pass,
        )
        fit_one = self._fit_minibatch if self._algorithm == "minibatch" else self._fit_lloyd
        with _exact_float32():
            best = restarts.best_of(
                self._restarts,
                lambda number, path: fit_one(
                    reader, restarts.fit_seed(self._seed, number), path, identity, log
                ),
                checkpoint_path,
                identity,
                writes=distribution.is_chief(self._strategy),
            )
        self.centroids, self.inertia, self.iterations = (
            best.centroids,
            best.inertia,
            best.iterations,
        )
        self.cluster_sizes, self.empty_clusters = (
            best.cluster_sizes,
            int(np.sum(best.cluster_sizes == 0)),
        )
        if self.empty_clusters:
            print(
                f"warning: {self.empty_clusters} of {self.num_clusters} clusters are empty: there "
                "may be fewer different rows than "
                "clusters",
                flush=True,
            )
        return self

    def assign(self, features, *, should_stop=None) -> tuple[np.ndarray, np.ndarray]:
        """Returns each row's nearest centroid, [N] int32 (ties: the lower number), and the
        Euclidean distance to it, [N] float32.
        """
        if self.centroids is None:
            raise InputError("this KMeans has no centroids yet; call fit first")
        source = sources.open_source(features, self._memory_bytes)
        if self.preprocessing:
            source = self.preprocessing.applied_to(source)
        if source.dim != self.centroids.shape[1]:
            raise InputError(
                f"features of dimension {source.dim}, but the centroids have "
                f"{self.centroids.shape[1]}; extract both alike"
            )
        reader = self._reader(source, 0, should_stop)
        with _exact_float32():
            labels, squares = distributed.nearest(reader, self.centroids, self._strategy)
        return labels, np.sqrt(squares)

    def predict(self, features) -> np.ndarray:
        """Returns the nearest centroid of every row, in row order: [N] int32."""
        return self.assign(features)[0]

    def distances(self, features) -> np.ndarray:
        """Returns the Euclidean distance of every row to its nearest centroid: [N] float32."""
        return self.assign(features)[1]

    def _reader(self, source, memory_bytes, should_stop):
        rows = assignment.chunk_rows(source.num_examples, source.dim, self.num_clusters)
        return sources.ChunkReader(source, rows, memory_bytes, should_stop)

    def _identity(self, source):
        start = self._initialization
        if isinstance(start, str | os.PathLike) and start not in INITIALIZATIONS:
            start = file_sha256(start)
        elif not isinstance(start, str):
            start = hashlib.sha256(np.asarray(start, np.float32).tobytes()).hexdigest()
        parts = [
            source.fingerprint(),
            self.num_clusters,
            self._algorithm,
            start,
            self._seed,
            self._memory_bytes,
        ]
        return fingerprint_of(parts + ([self._minibatch] if self._algorithm == "minibatch" else []))

    def _fit_minibatch(self, reader, seed, path, identity, log):
        return minibatch_fit.fit(
            reader,
            lambda: starts.initial_centroids(reader, self.num_clusters, self._initialization, seed),
            seed=seed,
            max_passes=self._max_iterations,
            tolerance=self._tolerance,
            log=log,
            checkpoint_path=path,
            identity=identity,
            checkpoint_seconds=self._checkpoint_seconds,
            **self._minibatch,
        )

    def _fit_lloyd(self, reader, seed, path, identity, log):
        state = checkpoint.load(path, identity) if path else None
        if state is None:
            start = starts.initial_centroids(reader, self.num_clusters, self._initialization, seed)
            state = checkpoint.FitState.start(start, reader.source.num_examples)
        done = len(state.new_labels)
        labels = np.concatenate([state.new_labels, state.labels[done:]])
        assigner = distributed.make_assignment(
            _ASSIGNMENTS[self._algorithm], reader, labels, state.sums, self._strategy
        )
        begun = assignment.Begun(state.labels[:done], state.new_squares)
        saver = checkpoint.PassSaver(
            path if distribution.is_chief(self._strategy) else None,
            identity,
            self._checkpoint_seconds,
        )
        while True:
            started = time.monotonic()
            with saver.during(state):
                found = assigner.step(state.centroids, begun, saver.on_rows)
            begun = None
            inertia, moved = (
                float(found.squares.sum(dtype=np.float64)),
                int(np.sum(found.labels != state.labels)),
            )
            log(
                iteration=state.iteration,
                inertia=inertia,
                moved_rows=moved,
                sizes=found.counts,
                split=state.reseeded,
                computed=found.distances,
                seconds=time.monotonic() - started,
                bytes_read=found.bytes_read,
            )
            reason = self._reason_to_stop(state, inertia, moved)
            if reason:
                break
            centroids, reseeded = _update(reader, state.centroids, found)
            state = checkpoint.FitState(
                state.iteration + 1, centroids, found.labels, inertia, reseeded, found.sums
            )
        print(f"k-means  stopped after {state.iteration} iterations: {reason}", flush=True)
        return restarts.FitResult(state.centroids, inertia, state.iteration, found.counts)

    def _reason_to_stop(self, state, inertia, moved):
        # A cluster re-seeded with a row that its old centroid reaches in the same update wins
        # nobody; others can still be split.
        if not moved and (not state.reseeded or inertia >= state.inertia):
            return "no assignment changed"
        if not state.reseeded and state.inertia - inertia <= self._tolerance * inertia:
            return f"the inertia fell by no more than {self._tolerance:g} of it"
        if state.iteration == self._max_iterations:
            return "that is the most allowed (max_iterations)"
        return None


def _update(reader, centroids, found):
    """Returns the means of the clusters, [K, D] float32, and how many empty clusters were
    re-seeded.

    Rule: E empty clusters take the E rows furthest from their centroids, each row once (equal
    distances: the earlier row), and the row leaves the mean of its old cluster; the only row of a
    cluster and rows at distance 0 are not taken. So with too few different rows the remaining empty
    clusters stay where they are.
    """
    counts, sums, squares, changed = found.counts.copy(), found.sums, found.squares, found.changed
    empty = np.flatnonzero(counts == 0)
    furthest = np.argsort(-squares, kind="stable")[: len(empty)] if len(empty) else empty
    furthest, reseeded = np.sort(furthest[squares[furthest] > 0]), 0
    if len(furthest):
        sums = sums.copy()
        for cluster, position, row in zip(empty, furthest, reader.take(furthest), strict=False):
            donor = found.labels[position]
            if counts[donor] > 1:
                sums[donor] -= row
                counts[donor] -= 1
                sums[cluster], counts[cluster] = row, 1
                reseeded += 1
        changed = np.arange(len(counts))
    changed = changed[counts[changed] > 0]
    centroids = centroids.copy()
    # A few at a time stay in the processor's cache.
    for part in (changed[at : at + 64] for at in range(0, len(changed), 64)):
        centroids[part] = sums[part] / counts[part, None]
    return centroids, reseeded


@contextlib.contextmanager
def _exact_float32():
    """Keeps GPUs from rounding the factors of matrix products to TensorFloat-32."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)

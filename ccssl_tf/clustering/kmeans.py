"""Lloyd's k-means over features that need not fit in memory (section 4.2: Euclidean distances, K = 2000).

Distances are float32, |x|^2 - 2 x.c + |c|^2 of rows shifted by a common vector (so that a large mean costs no precision); the distance
to the nearest centroid is then computed directly, and centroids are float64 means. Rows go through in chunks of a size that depends on
D and K alone: memory is bounded, and the result does not depend on where the rows are kept.
"""

import contextlib
import hashlib
import time

import numpy as np
import tensorflow as tf

from ccssl_tf.clustering import assignment, checkpoint, initialization, sources
from ccssl_tf.clustering.accelerated import AcceleratedAssignment
from ccssl_tf.data.manifest import fingerprint_of
from ccssl_tf.errors import InputError

_ASSIGNMENTS = {"lloyd": AcceleratedAssignment, "lloyd_plain": assignment.PlainAssignment}
ALGORITHMS = tuple(_ASSIGNMENTS)
INITIALIZATIONS = ("k-means++", "random")


class KMeans:
    """K-means with scikit-learn's meaning of the results.

    Attributes (after `fit`):
      centroids: [K, D] float32.
      inertia: float, sum over rows of the squared distance to the nearest of `centroids`.
      iterations: int, passes that updated the centroids.
      cluster_sizes: [K] int64, rows nearest to each centroid.
      empty_clusters: int, how many of them are 0: there are fewer than K different rows, or the fit was stopped early.
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
    ):
        """Sets what is to be computed; `fit` computes it.

        Args:
          num_clusters: K, at least 1.
          algorithm: "lloyd", exact, accelerated: skips the distances that cannot matter; "lloyd_plain", exact, computes all.
          initialization: "k-means++" (greedy, on a uniform sample), "random" (rows) or an array [K, D].
          max_iterations: most updates of the centroids; one more pass measures the inertia of the last ones.
          tolerance: stop when a pass lowers the inertia by at most this share of it; 0: when it, or the assignments, no longer change.
          seed: of the start.
          memory_gb: features up to this size are kept in memory, others are read again on each pass; also bounds the sample.

        Raises:
          InputError: a value that can never be right.
        """
        if num_clusters < 1:
            raise InputError(f"num_clusters={num_clusters}: at least one cluster is needed")
        if algorithm not in ALGORITHMS:
            raise InputError(f"algorithm={algorithm!r}: unknown; there are {', '.join(ALGORITHMS)}")
        if isinstance(initialization, str) and initialization not in INITIALIZATIONS:
            raise InputError(f"initialization={initialization!r}: unknown; there are {', '.join(INITIALIZATIONS)} or an array [K, D]")
        if max_iterations < 1 or not tolerance >= 0:
            raise InputError(f"max_iterations={max_iterations}, tolerance={tolerance}: they must be at least 1 and 0")
        self.num_clusters = num_clusters
        self._algorithm, self._initialization, self._seed = algorithm, initialization, seed
        self._max_iterations, self._tolerance = max_iterations, tolerance
        self._memory_bytes = int(memory_gb * 2**30)
        self.centroids = self.inertia = self.iterations = self.cluster_sizes = self.empty_clusters = None

    def fit(self, features, *, checkpoint_path=None, on_pass=None, should_stop=None) -> "KMeans":
        """Finds the centroids.

        Args:
          features: [N, D] array, tf.data.Dataset of [B, D] (same rows in the same order on every pass), or path of a feature directory.
          checkpoint_path: an `.npz` written after every pass; if it is there, the fit continues from it, on CPU to the same bits.
          on_pass: called with a dict after each pass: iteration, inertia, moved (share of rows), empty_clusters,
            computed (share of all distances), seconds, gb_read.
          should_stop: asked between chunks; True ends the fit with `Interrupted`.

        Raises:
          InputError: K > N, no rows, rows of another D than the initial centroids, NaN or infinity in an array.
          CorruptArtifactError: damaged shards, or NaN or infinity in one.
          Interrupted: `should_stop` said so.
        """
        source = sources.open_source(features, self._memory_bytes)
        if self.num_clusters > source.num_examples:
            raise InputError(f"num_clusters={self.num_clusters}: more clusters than the {source.num_examples} rows there are")
        chunk_rows = assignment.chunk_rows(source.dim, self.num_clusters)
        reader = sources.ChunkReader(source, chunk_rows, self._memory_bytes, should_stop)
        identity = self._identity(source) if checkpoint_path else None
        state = checkpoint.load(checkpoint_path, identity) if checkpoint_path else None
        with _exact_float32():
            if state is None:
                state = checkpoint.FitState.start(self._start(reader), source.num_examples)
            self._iterate(reader, state, checkpoint_path, identity, on_pass or print_pass)
        return self

    def assign(self, features, *, should_stop=None) -> tuple[np.ndarray, np.ndarray]:
        """Returns each row's nearest centroid, [N] int32 (ties: the lower number), and the Euclidean distance to it, [N] float32."""
        if self.centroids is None:
            raise InputError("this KMeans has no centroids yet; call fit first")
        source = sources.open_source(features, self._memory_bytes)
        if source.dim != self.centroids.shape[1]:
            raise InputError(f"features of dimension {source.dim}, but the centroids have {self.centroids.shape[1]}; extract both alike")
        reader = sources.ChunkReader(source, assignment.chunk_rows(source.dim, self.num_clusters), 0, should_stop)
        with _exact_float32():
            labels, squares = assignment.nearest(reader, self.centroids)
        return labels, np.sqrt(squares)

    def predict(self, features) -> np.ndarray:
        """Returns the nearest centroid of every row, in row order: [N] int32."""
        return self.assign(features)[0]

    def distances(self, features) -> np.ndarray:
        """Returns the Euclidean distance of every row to its nearest centroid: [N] float32."""
        return self.assign(features)[1]

    def _identity(self, source):
        start = self._initialization
        if not isinstance(start, str):
            start = hashlib.sha256(np.asarray(start, np.float32).tobytes()).hexdigest()
        return fingerprint_of([source.fingerprint(), self.num_clusters, self._algorithm, start, self._seed, self._memory_bytes])

    def _start(self, reader):
        """Returns the initial centroids [K, D] float32."""
        source = reader.source
        if not isinstance(self._initialization, str):
            centroids = np.array(self._initialization, np.float32)
            if centroids.shape != (self.num_clusters, source.dim):
                wanted = [self.num_clusters, source.dim]
                raise InputError(f"initialization: an array {list(centroids.shape)} was given, centroids are {wanted}")
            if not np.isfinite(centroids).all():
                raise InputError("initialization: the array holds a NaN or an infinity")
            return centroids
        plus_plus = self._initialization == "k-means++"
        count = self.num_clusters
        if plus_plus:
            count = initialization.sample_size(source.num_examples, source.dim, self.num_clusters, self._memory_bytes)
        positions = initialization.random_positions(source.num_examples, count, self._seed)
        rows = reader.take(positions)
        finite = np.isfinite(rows).all(axis=-1)
        if not finite.all():
            raise source.not_finite(int(positions[np.argmin(finite)]))
        return initialization.kmeans_plus_plus(rows, self.num_clusters, self._seed, reader.check_stop) if plus_plus else rows

    def _iterate(self, reader, state, checkpoint_path, identity, on_pass):
        assigner = _ASSIGNMENTS[self._algorithm](reader, state.labels, state.sums)
        while True:
            if checkpoint_path:
                checkpoint.save(checkpoint_path, state, identity)
            started = time.monotonic()
            found = assigner.step(state.centroids)
            inertia, moved = float(found.squares.sum(dtype=np.float64)), int(np.sum(found.labels != state.labels))
            empty = int(np.sum(found.counts == 0))
            on_pass(
                dict(
                    iteration=state.iteration,
                    inertia=inertia,
                    moved=moved / len(found.labels),
                    empty_clusters=empty,
                    computed=found.distances / (len(found.labels) * self.num_clusters),
                    seconds=time.monotonic() - started,
                    gb_read=found.bytes_read / 1e9,
                )
            )
            reason = self._reason_to_stop(state, inertia, moved)
            if reason:
                break
            centroids, reseeded = _update(reader, state.centroids, found)
            state = checkpoint.FitState(state.iteration + 1, centroids, found.labels, inertia, reseeded, found.sums)
        print(f"k-means  stopped after {state.iteration} iterations: {reason}", flush=True)
        if empty:
            print(
                f"warning: {empty} of {self.num_clusters} clusters are empty: there may be fewer different rows than clusters", flush=True
            )
        self.centroids, self.inertia, self.iterations = state.centroids, inertia, state.iteration
        self.cluster_sizes, self.empty_clusters = found.counts, empty

    def _reason_to_stop(self, state, inertia, moved):
        if not moved:
            return "no assignment changed"
        if not state.reseeded and state.inertia - inertia <= self._tolerance * inertia:
            return f"the inertia fell by no more than {self._tolerance:g} of it"
        if state.iteration == self._max_iterations:
            return "that is the most allowed (max_iterations)"
        return None


def print_pass(values: dict):
    """Prints one line for a pass; see `KMeans.fit`."""
    print(
        f"k-means  pass {values['iteration'] + 1}  inertia {values['inertia']:.6g}  moved {values['moved']:.2%}"
        f"  empty {values['empty_clusters']}  computed {values['computed']:.2%}  {values['seconds']:.1f} s"
        f"  read {values['gb_read']:.3g} GB",
        flush=True,
    )


def _update(reader, centroids, found):
    """Returns the means of the clusters, [K, D] float32, and whether empty clusters were re-seeded.

    Rule: E empty clusters take the E rows furthest from their centroids, each row once (equal distances: the earlier row), and the row
    leaves the mean of its old cluster; the only row of a cluster and rows at distance 0 are not taken. So with too few different rows
    the remaining empty clusters stay where they are.
    """
    counts, sums, squares, changed = found.counts.copy(), found.sums, found.squares, found.changed
    empty = np.flatnonzero(counts == 0)
    furthest = np.argsort(-squares, kind="stable")[: len(empty)] if len(empty) else empty
    furthest = np.sort(furthest[squares[furthest] > 0])
    if len(furthest):
        sums = sums.copy()
        for cluster, position, row in zip(empty, furthest, reader.take(furthest), strict=False):
            donor = found.labels[position]
            if counts[donor] > 1:
                sums[donor] -= row
                counts[donor] -= 1
                sums[cluster], counts[cluster] = row, 1
        changed = np.arange(len(counts))
    changed = changed[counts[changed] > 0]
    centroids = centroids.copy()
    centroids[changed] = sums[changed] / counts[changed, None]
    return centroids, bool(len(furthest))


@contextlib.contextmanager
def _exact_float32():
    """Keeps GPUs from rounding the factors of matrix products to TensorFloat-32."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)

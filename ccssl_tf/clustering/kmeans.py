"""K-means over features that need not fit in memory, Lloyd's (section 4.2) or by mini-batches.

The paper clusters by Euclidean distances into K = 2000 clusters. Here the distances that are
compared are float32 (see `distances`), the distance to the nearest centroid is then computed
directly, and centroids are float64 means. Rows go through in chunks of a size that depends on D and
K alone: memory is bounded, and the result does not depend on where the rows are kept.
"""

import copy
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from ccssl_tf.clustering import engines
from ccssl_tf.clustering.device.nearest import exact_float32
from ccssl_tf.clustering.fitting import fits
from ccssl_tf.clustering.fitting.pass_log import PassLog, print_pass
from ccssl_tf.clustering.host.block_threads import chunk_rows
from ccssl_tf.clustering.kmeans_settings import ALGORITHMS, INITIALIZATIONS, KMeansSettings
from ccssl_tf.clustering.rows import preprocessing, preprocessing_fit, sources
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader
from ccssl_tf.clustering.start import starts
from ccssl_tf.data.feature_source import FeatureSource
from ccssl_tf.runs.errors import InputError

__all__ = ["ALGORITHMS", "INITIALIZATIONS", "KMeans"]

_RESULTS = ("centroids", "inertia", "iterations", "cluster_sizes", "empty_clusters")


class KMeans:
    """K-means with scikit-learn's meaning of the results.

    It can be pickled and copied, also after `fit`; what comes out of a pickle runs on the strategy
    that is current then.

    Attributes (None before `fit`):
      centroids: [K, D] float32.
      inertia: float, sum over rows of the squared distance to the nearest of `centroids`.
      iterations: int, number of passes that updated the centroids; with "minibatch" of those begun.
      cluster_sizes: [K] int64, numbers of rows nearest to each centroid.
      empty_clusters: int, how many of these are 0. Some are if there are fewer than K different
        rows, or the fit stopped early.
      preprocessing: `Preprocessing` that rows go through first, also in `assign`; None if they are
        clustered as they are.

    >>> rows = np.array([[0.0], [1.0], [10.0], [11.0]])
    >>> kmeans = KMeans(2, initialization=rows[:2]).fit(rows, on_pass=lambda values: None)
    k-means  stopped after 2 iterations: no assignment changed
    >>> print(kmeans.centroids.ravel(), kmeans.predict(rows), kmeans.inertia)
    [ 0.5 10.5] [0 0 1 1] 1.0
    """

    # Users need not check for None, which these are before `fit` alone.
    centroids: np.ndarray
    inertia: float
    iterations: int
    cluster_sizes: np.ndarray
    empty_clusters: int

    def __init__(
        self,
        num_clusters: int,
        *,
        algorithm: str = "lloyd",
        initialization: starts.Start = "k-means++",
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
        strategy: tf.distribute.Strategy | None = None,
    ):
        """Sets what is to be computed; `fit` computes it.

        Args:
          num_clusters: K, at least 1.
          algorithm: "lloyd", exact, skips the distances that cannot matter; "lloyd_plain", exact,
            computes all; "minibatch", Sculley's, see `minibatch`.
          initialization: "k-means++" (greedy, on a uniform sample), "k-means||" (all rows, in 5 or
            6 passes), "random" (rows), an array [K, D] or the path of one, `.npy`.
          max_iterations: number of updates of the centroids (mini-batch: of passes), at most; one
            more pass measures the inertia of the last ones.
          tolerance: stop when a pass lowers the inertia by at most this share of it; 0: when it, or
            the assignments, no longer change.
          seed: of the start and the order of mini-batches.
          memory_gb: features of up to so many GiB are kept in memory (float16 as float32, which is
            faster, if that fits, too), others are read again on each pass; also bounds the sample.
          restarts: number of fits from different starts, of which the one with the lowest inertia
            is kept.
          minibatch_size: number of rows of a mini-batch.
          max_no_improvement: "minibatch" stops after so many batches that did not lower the
            smoothed inertia; 0: it does not.
          reassignment_ratio: with "minibatch", clusters with fewer rows than this share of the
            largest one's get rows of others.
          checkpoint_seconds: time in seconds between two checkpoints inside a pass, at least.
          pca_dim, whiten, l2_normalize: see `preprocessing.Options`; centroids and distances are
            those of the transformed rows.
          strategy: a tf.distribute strategy whose replicas share the rows; by default the current
            one. All workers must call the same methods with the same rows; the chief alone writes
            checkpoints, in storage that all of them share.

        Raises:
          InputError: a value that can never be right.
        """
        self._settings = KMeansSettings(
            num_clusters=num_clusters,
            algorithm=algorithm,
            initialization=initialization,
            max_iterations=max_iterations,
            tolerance=tolerance,
            seed=seed,
            memory_bytes=int(memory_gb * 2**30),
            restarts=restarts,
            minibatch_size=minibatch_size,
            max_no_improvement=max_no_improvement,
            reassignment_ratio=reassignment_ratio,
            checkpoint_seconds=checkpoint_seconds,
            preprocessing=preprocessing.Options(pca_dim, whiten, l2_normalize),
        )
        self._strategy = strategy or tf.distribute.get_strategy()
        self.num_clusters = num_clusters
        self.preprocessing: preprocessing.Preprocessing | None = None
        vars(self).update(dict.fromkeys(_RESULTS))

    def fit(
        self,
        features: sources.Features,
        *,
        checkpoint_path: str | os.PathLike | None = None,
        on_pass: Callable[[dict], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> "KMeans":
        """Computes the centroids.

        Args:
          features: [N, D] array, tf.data.Dataset of [B, D] (same rows in the same order on every
            pass), path of a feature directory, or a `FeatureSource`.
          checkpoint_path: an `.npz` written after every pass; if it is there, the fit continues
            from it, on CPU to the same bits.
          on_pass: called with a dict after each pass: iteration, inertia (mini-batch: smoothed),
            moved (share of rows), empty_clusters, split_clusters (got rows of others before it),
            imbalance (1: equal sizes), computed (share of all distances), gflops, seconds, gb_read,
            eta_seconds (at most), sizes [K]. By default a line is printed.
          should_stop: asked between chunks; True ends the fit with `Interrupted`.

        Returns:
          This object.

        Raises:
          InputError: K > N, no rows, rows of another D than the initial centroids, NaN or infinity
            in an array.
          CorruptArtifactError: damaged shards, or NaN or infinity in one.
          Interrupted: `should_stop` said so.
        """
        settings = self._settings
        source = sources.open_source(features, settings.memory_bytes)
        if self.num_clusters > source.num_examples:
            raise InputError(
                f"num_clusters={self.num_clusters}: more clusters than the {source.num_examples} "
                "rows there are"
            )
        if settings.preprocessing:
            path = f"{checkpoint_path}.preprocessing" if checkpoint_path else None
            self.preprocessing = preprocessing_fit.fit_or_load(
                source,
                settings.preprocessing,
                path,
                strategy=self._strategy,
                should_stop=should_stop,
            )
            source = self.preprocessing.applied_to(source)
        reader = self._reader(source, settings.memory_bytes, should_stop)
        log = PassLog(
            source.num_examples,
            source.dim,
            self.num_clusters,
            settings.max_iterations + 1,
            on_pass or print_pass,
        )
        with exact_float32():
            best = fits.best_fit(reader, settings, self._strategy, log, checkpoint_path)
        self.centroids, self.cluster_sizes = best.centroids, best.cluster_sizes
        self.inertia, self.iterations = best.inertia, best.iterations
        self.empty_clusters = int(np.sum(best.cluster_sizes == 0))
        if self.empty_clusters:
            print(
                f"warning: {self.empty_clusters} of {self.num_clusters} clusters are empty: there "
                "may be fewer different rows than clusters",
                flush=True,
            )
        return self

    def assign(
        self, features: sources.Features, *, should_stop: Callable[[], bool] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Computes the nearest centroid of every row.

        Args:
          features, should_stop: as in `fit`.

        Returns:
          Its number (ties: the lower one), [N] int32, and the Euclidean distance to it, [N]
          float32.
        """
        if self.centroids is None:
            raise InputError("this KMeans has no centroids yet; call fit first")
        source = sources.open_source(features, self._settings.memory_bytes)
        if self.preprocessing:
            source = self.preprocessing.applied_to(source)
        if source.dim != self.centroids.shape[1]:
            raise InputError(
                f"features of dimension {source.dim}, but the centroids have "
                f"{self.centroids.shape[1]}; extract both alike"
            )
        reader = self._reader(source, 0, should_stop)
        with exact_float32():
            labels, squares = engines.nearest(reader, self.centroids, self._strategy)
        return labels, np.sqrt(squares)

    def predict(self, features: sources.Features) -> np.ndarray:
        """Returns the nearest centroid of every row, in row order: [N] int32."""
        return self.assign(features)[0]

    def distances(self, features: sources.Features) -> np.ndarray:
        """Returns the Euclidean distance of every row to its nearest centroid: [N] float32."""
        return self.assign(features)[1]

    def __getstate__(self) -> dict[str, Any]:
        # A strategy stands for devices of this process; it cannot go to another.
        return {name: value for name, value in vars(self).items() if name != "_strategy"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _strategy=tf.distribute.get_strategy())

    def __deepcopy__(self, memo: dict) -> "KMeans":
        copied = type(self).__new__(type(self))
        vars(copied).update(copy.deepcopy(self.__getstate__(), memo), _strategy=self._strategy)
        return copied

    def _reader(
        self,
        source: FeatureSource,
        memory_bytes: int,
        should_stop: Callable[[], bool] | None,
    ) -> ChunkReader:
        rows = chunk_rows(source.num_examples, source.dim, self.num_clusters)
        return ChunkReader(source, rows, memory_bytes, should_stop)

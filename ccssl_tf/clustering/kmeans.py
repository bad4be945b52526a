"""K-means over features that need not fit in memory, Lloyd's (section 4.2) or by mini-batches.

The paper clusters by Euclidean distances into K = 2000 clusters. Here float32 products find which
centroids may be the nearest, differences in float64 decide where several may be, and centroids are
float64 means. Rows go through in chunks of a size that depends on D and K alone: memory is bounded,
and the result does not depend on where the rows are kept.
"""

import copy
import dataclasses
import os
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    TransformerMixin,
    clone,
)
from sklearn.utils.validation import check_is_fitted, validate_data

from ccssl_tf.clustering import engines
from ccssl_tf.clustering.device.minibatch import MinibatchState, MinibatchSteps
from ccssl_tf.clustering.device.nearest import exact_float32
from ccssl_tf.clustering.fitting import fits
from ccssl_tf.clustering.fitting.pass_log import PassLog, print_pass
from ccssl_tf.clustering.fitting.restarts import weighted_inertia
from ccssl_tf.clustering.host.block_threads import chunk_rows
from ccssl_tf.clustering.host.distances import all_squares
from ccssl_tf.clustering.host.measuring import check_finite
from ccssl_tf.clustering.kmeans_settings import ALGORITHMS, INITIALIZATIONS, KMeansSettings
from ccssl_tf.clustering.rows import preprocessing, preprocessing_fit, sources
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader
from ccssl_tf.clustering.rows.units import Units, UnitSource
from ccssl_tf.clustering.start import starts
from ccssl_tf.data.feature_source import FeatureSource
from ccssl_tf.runs.errors import InputError

__all__ = ["ALGORITHMS", "INITIALIZATIONS", "KMeans", "MiniBatchKMeans"]

_DEFAULT_CLUSTERS = 8

_ShouldStop: TypeAlias = Callable[[], bool] | None


class _KMeans(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator):
    """What both estimators have in common; the constructor of each sets its arguments."""

    num_clusters: int | None
    n_clusters: int | None
    initialization: starts.Start
    max_iterations: int
    tolerance: float
    seed: int
    memory_gb: float
    restarts: int
    minibatch_size: int
    max_no_improvement: int
    reassignment_ratio: float
    checkpoint_seconds: float
    pca_dim: int
    whiten: bool
    l2_normalize: bool
    strategy: tf.distribute.Strategy | None
    _fitted_preprocessing: preprocessing.Preprocessing | None = None

    def _algorithm(self) -> str:
        raise NotImplementedError

    def settings(self) -> KMeansSettings:
        """Returns what is to be computed.

        Raises:
          InputError: a value that can never be right; `fit` says so too.
        """
        named = {name for name in (self.num_clusters, self.n_clusters) if name is not None}
        if len(named) > 1:
            raise InputError(
                f"num_clusters={self.num_clusters}, n_clusters={self.n_clusters}: two names of one "
                "number; give one of them"
            )
        return KMeansSettings(
            num_clusters=named.pop() if named else _DEFAULT_CLUSTERS,
            algorithm=self._algorithm(),
            initialization=self.initialization,
            max_iterations=self.max_iterations,
            tolerance=self.tolerance,
            seed=self.seed,
            memory_bytes=int(self.memory_gb * 2**30),
            restarts=self.restarts,
            minibatch_size=self.minibatch_size,
            max_no_improvement=self.max_no_improvement,
            reassignment_ratio=self.reassignment_ratio,
            checkpoint_seconds=self.checkpoint_seconds,
            preprocessing=preprocessing.Options(self.pca_dim, self.whiten, self.l2_normalize),
        )

    def fit(
        self,
        X: sources.Features,
        y: object = None,
        sample_weight: npt.ArrayLike | None = None,
        *,
        checkpoint_path: str | os.PathLike | None = None,
        on_pass: Callable[[dict], None] | None = None,
        should_stop: _ShouldStop = None,
    ):
        """Computes the centroids.

        Args:
          X: [N, D] array, data frame or Arrow table, tf.data.Dataset of [B, D] (same rows in the
            same order on every pass), path of a feature directory, or a `FeatureSource`.
          y: not used.
          sample_weight: [N] float, at least 0: how many rows each stands for; None: one each.
          checkpoint_path: an `.npz` written after every pass; if it is there, the fit continues
            from it, on CPU to the same bits.
          on_pass: called with a dict after each pass: iteration, inertia (mini-batch: smoothed),
            moved (share of rows), empty_clusters, split_clusters (got rows of others before it),
            imbalance (1: equal sizes), computed (share of all distances), gflops, seconds, gb_read,
            eta_seconds (at most), sizes [K]. By default a line is printed.
          should_stop: asked now and then; True ends the fit with `Interrupted`.

        Returns:
          This object.

        Raises:
          InputError: K > N, no rows, rows of another D than the initial centroids, NaN or infinity
            in an array, a setting that can never be right.
          CorruptArtifactError: damaged shards, or NaN or infinity in one.
          Interrupted: `should_stop` said so.
        """
        settings, strategy = self.settings(), self.strategy or tf.distribute.get_strategy()
        source = self._opened(X, reset=True, memory_bytes=settings.memory_bytes)
        source = _weighted(source, sample_weight)
        if settings.num_clusters > source.num_examples:
            raise InputError(
                f"num_clusters={settings.num_clusters}: more clusters than there are rows "
                f"(n_samples={source.num_examples})"
            )
        self._fitted_preprocessing = None
        if settings.preprocessing:
            path = f"{checkpoint_path}.preprocessing" if checkpoint_path else None
            self._fitted_preprocessing = preprocessing_fit.fit_or_load(
                source,
                settings.preprocessing,
                path,
                strategy=strategy,
                should_stop=should_stop,
            )
            source = self._fitted_preprocessing.applied_to(source)
        elif not self._units.are_those_of_the_rows:
            settings = settings.in_units(self._units, source.dim)
        if settings.algorithm == "auto":
            algorithm, reason = engines.choose_algorithm(
                source.num_bytes, source.in_memory, settings.memory_bytes, strategy
            )
            print(f"k-means  algorithm: {algorithm}, since {reason}", flush=True)
            settings = dataclasses.replace(settings, algorithm=algorithm)
        self.algorithm_ = settings.algorithm
        reader = _reader(source, settings.num_clusters, settings.memory_bytes, should_stop)
        log = PassLog(
            source.num_examples,
            source.dim,
            settings.num_clusters,
            settings.max_iterations + 1,
            on_pass or print_pass,
        )
        with exact_float32():
            best = fits.best_fit(reader, settings, strategy, log, checkpoint_path)
        self._centroids = best.centroids
        self.cluster_centers_ = self._positions(best.centroids)
        self.labels_, self.n_iter_ = best.labels, best.iterations
        self.inertia_ = self._squares(best.inertia)
        if self.empty_clusters:
            reason = (
                "there are fewer different rows"
                if best.inertia == 0
                else "the fit stopped before they got rows of others"
            )
            print(
                f"warning: {self.empty_clusters} of {settings.num_clusters} clusters are empty: "
                f"{reason}",
                flush=True,
            )
        return self

    def assign(
        self, X: sources.Features, *, should_stop: _ShouldStop = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Computes the nearest centroid of every row.

        Args:
          X, should_stop: as in `fit`.

        Returns:
          Its number (ties: the lower one), [N] int32, and the Euclidean distance to it, [N] of the
          type of the centroids.
        """
        labels, squares, _ = self._assigned(X, should_stop)
        return labels, self._lengths(np.sqrt(squares))

    def predict(self, X: sources.Features) -> np.ndarray:
        """Returns the nearest centroid of every row, in row order: [N] int32."""
        return self._assigned(X)[0]

    def distances(self, X: sources.Features) -> np.ndarray:
        """Returns the Euclidean distance of every row to its nearest centroid: [N]."""
        return self.assign(X)[1]

    def score(
        self, X: sources.Features, y: object = None, sample_weight: npt.ArrayLike | None = None
    ) -> float:
        """Returns minus the inertia of the rows; arguments as in `fit`."""
        _, squares, source = self._assigned(X)
        inertia = weighted_inertia(_weighted(source, sample_weight), squares)
        return -self._squares(inertia)

    def transform(self, X: sources.Features) -> np.ndarray:
        """Returns the Euclidean distance of every row to every centroid: [N, K] as the centroids.

        They are computed in float64.
        """
        source, parts = self._source_to_assign(X), []
        reader = _reader(source, len(self._centroids), 0, None)
        for start, chunk in reader:
            squares = all_squares(chunk, self._centroids)
            check_finite(source, squares.sum(axis=1), start)
            parts.append(self._lengths(np.sqrt(squares)))
        return np.concatenate(parts)

    @property
    def centroids(self) -> np.ndarray:
        """See `KMeans`."""
        check_is_fitted(self)
        return self.cluster_centers_

    @property
    def assignments(self) -> np.ndarray:
        """See `KMeans`."""
        check_is_fitted(self)
        return self.labels_

    @property
    def inertia(self) -> float:
        """See `KMeans`."""
        check_is_fitted(self)
        return self.inertia_

    @property
    def iterations(self) -> int:
        """See `KMeans`."""
        check_is_fitted(self)
        return self.n_iter_

    @property
    def cluster_sizes(self) -> np.ndarray:
        """See `KMeans`."""
        return np.bincount(self.assignments, minlength=len(self.centroids))

    @property
    def empty_clusters(self) -> int:
        """See `KMeans`."""
        return int(np.sum(self.cluster_sizes == 0))

    @property
    def preprocessing(self) -> preprocessing.Preprocessing | None:
        """See `KMeans`."""
        return self._fitted_preprocessing

    @property
    def _n_features_out(self) -> int:
        return len(self.centroids)

    def _opened(self, X: sources.Features, *, reset: bool, memory_bytes: int) -> FeatureSource:
        """Returns the source of the rows in the units of the fit; reset: which it determines."""
        if isinstance(X, FeatureSource | tf.data.Dataset | str | os.PathLike):
            source = sources.open_source(X, memory_bytes)
            if reset:
                self.n_features_in_ = source.dim
            elif source.dim != self.n_features_in_:
                raise InputError(
                    f"features of dimension {source.dim}, but the centroids have "
                    f"{self.n_features_in_}; extract both alike"
                )
        else:
            rows = validate_data(self, X, reset=reset, dtype="numeric", ensure_all_finite=False)
            source = sources.ArraySource(rows)
        if isinstance(source, sources.ArraySource):
            if reset:
                self._units = Units.of(source.array)
            return source if self._units.are_those_of_the_rows else UnitSource(source, self._units)
        if reset:
            self._units = Units(None, 0, np.dtype(np.float32))
        elif not self._units.are_those_of_the_rows:
            raise InputError(
                "features: these centroids were fitted on an array of other units; give an array"
            )
        return source

    def _source_to_assign(self, X: sources.Features) -> FeatureSource:
        check_is_fitted(self)
        source = self._opened(X, reset=False, memory_bytes=int(self.memory_gb * 2**30))
        if self._fitted_preprocessing:
            source = self._fitted_preprocessing.applied_to(source)
        return source

    def _assigned(
        self, X: sources.Features, should_stop: _ShouldStop = None
    ) -> tuple[np.ndarray, np.ndarray, FeatureSource]:
        """Returns labels [N] int32, squared distances [N] float32 of the fit, and the source."""
        source = self._source_to_assign(X)
        reader = _reader(source, len(self._centroids), 0, should_stop)
        strategy = self.strategy or tf.distribute.get_strategy()
        with exact_float32():
            labels, squares = engines.nearest(reader, self._centroids, strategy)
        return labels, squares, source

    def _positions(self, vectors: np.ndarray) -> np.ndarray:
        """Returns vectors [n, D] float32 of the fit in the units of the rows."""
        return vectors if self._fitted_preprocessing else self._units.positions(vectors)

    def _lengths(self, values: np.ndarray) -> np.ndarray:
        """Returns lengths of the fit in the units of the rows."""
        return values if self._fitted_preprocessing else self._units.lengths(values)

    def _squares(self, value: float) -> float:
        """Returns a sum of squared lengths of the fit in the units of the rows."""
        return value if self._fitted_preprocessing else self._units.squares(value)

    def __getstate__(self) -> dict[str, Any]:
        # A strategy stands for devices of this process; it cannot go to another.
        return super().__getstate__() | dict(strategy=None)

    def __deepcopy__(self, memo: dict):
        copied = type(self).__new__(type(self))
        copied.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        copied.strategy = self.strategy
        return copied

    def __sklearn_clone__(self):
        values = self.get_params(deep=False)
        return type(self)(
            **{
                name: value if name == "strategy" else clone(value, safe=False)
                for name, value in values.items()
            }
        )


class KMeans(_KMeans):
    """K-means as a scikit-learn estimator: in pipelines, searches and pickles, or by itself.

    Attributes (after `fit`; scikit-learn's names, and ours where they differ):
      cluster_centers_, centroids: [K, D], float64 where the rows were float64 or wide integers,
        else float32.
      labels_, assignments: [N] int32, the nearest centroid of every row that was fitted.
      inertia_, inertia: float, sum over rows of the squared distance to the nearest centroid, times
        the weight of the row.
      n_iter_, iterations: int, number of passes that updated the centroids; of mini-batches, of
        those begun.
      algorithm_: str, the one that computed them, where the argument is "auto".
      cluster_sizes: [K] int64, numbers of rows nearest to each centroid.
      empty_clusters: int, how many of these are 0. Some are if there are fewer than K different
        rows, or the fit stopped early.
      n_features_in_, feature_names_in_: D, and the names of columns that have some.
      preprocessing: `Preprocessing` that rows go through first, also in `predict`; None if they are
        clustered as they are. Centroids and distances are those of the transformed rows.

    >>> rows = np.array([[0.0], [1.0], [10.0], [11.0]], np.float32)
    >>> kmeans = KMeans(2, initialization=rows[:2]).fit(rows, on_pass=lambda values: None)
    k-means  stopped after 2 iterations: no assignment changed
    >>> print(kmeans.centroids.ravel(), kmeans.predict(rows), kmeans.inertia)
    [ 0.5 10.5] [0 0 1 1] 1.0
    """

    def __init__(
        self,
        num_clusters: int | None = None,
        *,
        n_clusters: int | None = None,
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
        """Sets what is to be computed; `fit` computes it, and says what cannot be right.

        Args:
          num_clusters: K, at least 1; 8 by default.
          n_clusters: the same, by scikit-learn's name.
          algorithm: "lloyd", exact, skips the distances that cannot matter; "lloyd_plain", exact,
            computes all; "minibatch", Sculley's, see `device.minibatch`; "auto": "lloyd" where the
            rows fit the memory, else "minibatch".
          initialization: "k-means++" (greedy, on a uniform sample), "k-means||" (all rows, in 5 or
            6 passes), "random" (rows), an array [K, D] or the path of one, `.npy`.
          max_iterations: number of updates of the centroids (mini-batch: of passes), at most; one
            more pass measures the inertia of the last ones.
          tolerance: stop when a pass lowers the inertia by at most this share of it; 0: when it, or
            the assignments, no longer change.
          seed: of the start and the order of mini-batches.
          memory_gb: features of up to so many GiB are kept in memory, on GPUs in theirs (float16 as
            float32 on CPUs, which is faster, if that fits, too), others are read again on each
            pass; also bounds the sample.
          restarts: number of fits from different starts, of which the one with the lowest inertia
            is kept.
          minibatch_size: number of rows of a mini-batch.
          max_no_improvement: "minibatch" stops after so many batches that did not lower the
            smoothed inertia; 0: it does not.
          reassignment_ratio: with "minibatch", clusters with less weight than this share of the
            heaviest one's get rows of others.
          checkpoint_seconds: time in seconds between two checkpoints inside a pass, at least.
          pca_dim, whiten, l2_normalize: see `preprocessing.Options`; centroids and distances are
            those of the transformed rows.
          strategy: a tf.distribute strategy whose replicas share the rows; by default the current
            one when a method is called. All workers must call the same methods with the same rows;
            the chief alone writes checkpoints, in storage that all of them share.
        """
        self.num_clusters, self.n_clusters = num_clusters, n_clusters
        self.algorithm, self.initialization = algorithm, initialization
        self.max_iterations, self.tolerance, self.seed = max_iterations, tolerance, seed
        self.memory_gb, self.restarts, self.minibatch_size = memory_gb, restarts, minibatch_size
        self.max_no_improvement, self.reassignment_ratio = max_no_improvement, reassignment_ratio
        self.checkpoint_seconds, self.strategy = checkpoint_seconds, strategy
        self.pca_dim, self.whiten, self.l2_normalize = pca_dim, whiten, l2_normalize

    def _algorithm(self) -> str:
        return self.algorithm


class MiniBatchKMeans(_KMeans):
    """Mini-batch k-means as a scikit-learn estimator, which can also be fitted batch by batch.

    Attributes: those of `KMeans`.

    >>> rows = np.array([[0.0], [1.0], [10.0], [11.0]], np.float32)
    >>> kmeans = MiniBatchKMeans(2, initialization=rows[1:3])
    >>> print(kmeans.partial_fit(rows).partial_fit(rows[:2]).centroids.ravel())
    [ 0.5 10.5]
    """

    _partial: MinibatchState | None = None

    def __init__(
        self,
        num_clusters: int | None = None,
        *,
        n_clusters: int | None = None,
        initialization: starts.Start = "k-means++",
        max_iterations: int = 100,
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
        """Sets what is to be computed; Args: see `KMeans`."""
        self.num_clusters, self.n_clusters = num_clusters, n_clusters
        self.initialization = initialization
        self.max_iterations, self.tolerance, self.seed = max_iterations, tolerance, seed
        self.memory_gb, self.restarts, self.minibatch_size = memory_gb, restarts, minibatch_size
        self.max_no_improvement, self.reassignment_ratio = max_no_improvement, reassignment_ratio
        self.checkpoint_seconds, self.strategy = checkpoint_seconds, strategy
        self.pca_dim, self.whiten, self.l2_normalize = pca_dim, whiten, l2_normalize

    def _algorithm(self) -> str:
        return "minibatch"

    def partial_fit(
        self, X: npt.ArrayLike, y: object = None, sample_weight: npt.ArrayLike | None = None
    ) -> "MiniBatchKMeans":
        """Lets the rows [B, D] of an array move the centroids, as one mini-batch of new rows.

        The first call starts with some of its rows, of which it needs K. Rows are not transformed.
        """
        settings = self.settings()
        if settings.preprocessing:
            raise InputError("partial_fit: pca_dim, whiten and l2_normalize need all rows; use fit")
        is_first = self._partial is None
        source = self._opened(X, reset=is_first, memory_bytes=settings.memory_bytes)
        source = _weighted(source, sample_weight)
        reader = _reader(source, settings.num_clusters, settings.memory_bytes, None)
        rows = reader.take(np.arange(source.num_examples))
        starts.check_rows(source, np.arange(len(rows)), rows)
        if is_first:
            if settings.num_clusters > len(rows):
                raise InputError(
                    f"num_clusters={settings.num_clusters}: more clusters than there are rows in "
                    f"the first call (n_samples={len(rows)})"
                )
            settings = settings.in_units(self._units, source.dim)
            how, seed = settings.initialization, settings.seed
            start = starts.initial_centroids(reader, settings.num_clusters, how, seed)
            self._partial = MinibatchState.start(start, len(rows))
        assert self._partial
        # Every row is new: it is counted for good.
        self._partial.labels = np.full(len(rows), -1, np.int32)
        steps = MinibatchSteps(
            self._partial,
            self.strategy or tf.distribute.get_strategy(),
            seed=settings.seed,
            reassignment_ratio=settings.reassignment_ratio,
            row_weights=source.weights,
        )
        with exact_float32():
            steps.run_batch(np.arange(len(rows)), rows)
            self._partial = steps.state()
            self._centroids = self._partial.centroids
            labels, squares = engines.nearest(
                reader, self._centroids, self.strategy or tf.distribute.get_strategy()
            )
        self.cluster_centers_ = self._positions(self._centroids)
        self.labels_, self.n_steps_, self.n_iter_ = labels, self._partial.step, 1
        inertia = weighted_inertia(source, squares)
        self.inertia_ = self._squares(inertia)
        return self

    def fit(self, X: sources.Features, y: object = None, *args, **options):
        """Computes the centroids from all rows; see `KMeans.fit`."""
        self._partial = None
        return super().fit(X, y, *args, **options)


def _weighted(source: FeatureSource, weights: npt.ArrayLike | None) -> FeatureSource:
    """Returns the source with weights [N]; None: those it has."""
    if weights is None:
        return source
    values = np.asarray(weights, np.float64)
    if values.shape != (source.num_examples,) or not (np.isfinite(values) & (values >= 0)).all():
        raise InputError(
            f"sample_weight: an array {list(values.shape)} was given; {source.num_examples} finite "
            "numbers of at least 0 are needed"
        )
    if not values.any():
        raise InputError("sample_weight: all weights are zero; there is nothing to cluster")
    weighted = copy.copy(source)
    weighted.weights = values
    return weighted


def _reader(
    source: FeatureSource, num_clusters: int, memory_bytes: int, should_stop: _ShouldStop
) -> ChunkReader:
    rows = chunk_rows(source.num_examples, source.dim, num_clusters)
    return ChunkReader(source, rows, memory_bytes, should_stop)

"""What both k-means estimators do: open rows of any kind, fit, and answer in their units."""

import abc
import copy
import dataclasses
import os
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse
import tensorflow as tf
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    TransformerMixin,
    clone,
)
from sklearn.utils.validation import check_is_fitted, validate_data

from ccssl_tf.clustering import engines, pseudo_labels
from ccssl_tf.clustering.device.nearest import exact_float32
from ccssl_tf.clustering.fitting import fits, splitting
from ccssl_tf.clustering.fitting.pass_log import PassLog, tell_pass
from ccssl_tf.clustering.fitting.restarts import weighted_inertia
from ccssl_tf.clustering.host.block_threads import chunk_rows
from ccssl_tf.clustering.host.distances import all_squares
from ccssl_tf.clustering.host.measuring import check_finite
from ccssl_tf.clustering.kmeans_settings import KMeansSettings
from ccssl_tf.clustering.messages import LOGGER, printed
from ccssl_tf.clustering.rows import preprocessing, preprocessing_fit, sources
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader
from ccssl_tf.clustering.rows.units import Units, UnitSource
from ccssl_tf.clustering.start import starts
from ccssl_tf.data.feature_source import FeatureSource
from ccssl_tf.runs.errors import InputError

_DEFAULT_CLUSTERS = 8

_ShouldStop: TypeAlias = Callable[[], bool] | None


class KMeansEstimator(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator, abc.ABC
):
    """What `KMeans` and `MiniBatchKMeans` have in common."""

    _fitted_preprocessing: preprocessing.Preprocessing | None = None

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
        max_cluster_share: float = 1.0,
        verbose: bool = False,
        strategy: tf.distribute.Strategy | None = None,
    ):
        """Sets what is to be computed; Args: see `KMeans`."""
        self.num_clusters, self.n_clusters = num_clusters, n_clusters
        self.initialization = initialization
        self.max_iterations, self.tolerance, self.seed = max_iterations, tolerance, seed
        self.memory_gb, self.restarts, self.minibatch_size = memory_gb, restarts, minibatch_size
        self.max_no_improvement, self.reassignment_ratio = max_no_improvement, reassignment_ratio
        self.checkpoint_seconds, self.strategy = checkpoint_seconds, strategy
        self.verbose = verbose
        self.pca_dim, self.whiten, self.l2_normalize = pca_dim, whiten, l2_normalize
        self.max_cluster_share = max_cluster_share

    @abc.abstractmethod
    def _algorithm(self) -> str:
        """Returns the name of the algorithm, one of `ALGORITHMS`."""

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
            max_cluster_share=self.max_cluster_share,
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
          X: [N, D] array, data frame or Arrow table, path of an `.npy` file (read as it is needed),
            tf.data.Dataset of [B, D] (same rows in the same order on every pass), path of a feature
            directory, or a `FeatureSource`.
          y: not used.
          sample_weight: [N] float, at least 0: how many rows each stands for; None: one each.
          checkpoint_path: an `.npz` written after every pass; if it is there, the fit continues
            from it, on CPU to the same bits.
          on_pass: called with a dict after each pass: iteration, inertia (mini-batch: smoothed),
            moved (share of rows), empty_clusters, split_clusters (got rows of others before it),
            imbalance (1: equal sizes), computed (share of all distances), gflops, seconds, gb_read,
            eta_seconds (at most), sizes [K]. By default it is told in a line.
          should_stop: asked now and then; True ends the fit with `Interrupted`.

        Returns:
          This object.

        Raises:
          InputError: K > N, no rows, rows of another D than the initial centroids, NaN or infinity
            in an array, a setting that can never be right.
          CorruptArtifactError: damaged shards, or NaN or infinity in one.
          Interrupted: `should_stop` said so.
        """
        with printed(self.verbose):
            return self._fit(X, sample_weight, checkpoint_path, on_pass, should_stop)

    def _fit(self, X, sample_weight, checkpoint_path, on_pass, should_stop):
        settings, strategy = self.settings(), self._replicas()
        source = self._opened(X, reset=True, memory_bytes=settings.memory_bytes)
        source = sources.weighted_source(source, sample_weight)
        settings.check_rows(source.num_examples)
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
            LOGGER.info(f"algorithm: {algorithm}, since {reason}")
            settings = dataclasses.replace(settings, algorithm=algorithm)
        self.algorithm_ = settings.algorithm
        reader = reader_of(source, settings.num_clusters, settings.memory_bytes, should_stop)
        log = PassLog(
            source.num_examples,
            source.dim,
            settings.num_clusters,
            settings.max_iterations + 1,
            on_pass or tell_pass,
        )
        with exact_float32():
            best = fits.best_fit(reader, settings, strategy, log, checkpoint_path)
            best = splitting.split_large(reader, best, settings, strategy, checkpoint_path)
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
            LOGGER.warning(
                f"{self.empty_clusters} of {len(self._centroids)} clusters are empty: {reason}"
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

    def nearest(
        self,
        X: sources.Features,
        labels: np.ndarray,
        distances: np.ndarray,
        count: int,
        *,
        should_stop: _ShouldStop = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Finds the few nearest centroids of every row, in one pass over the rows.

        Args:
          X, should_stop: as in `fit`.
          labels, distances: as `assign` returns them for these rows.
          count: number of centroids a row, at least 1; all K where there are fewer.

        Returns:
          Their numbers, nearest first (ties: the lower one first), [N, n] int32, and the Euclidean
          distances to them, [N, n] as those given. The first column are the labels.
        """
        count = min(count, len(self._centroids))
        numbers, lengths = labels[:, None], distances[:, None]
        if count > 1:
            source = self._source_to_assign(X)
            reader = reader_of(source, len(self._centroids), 0, should_stop)
            with exact_float32():
                others, squares = engines.nearest_beside(
                    reader, self._centroids, labels, count - 1, self._replicas()
                )
            numbers = np.hstack([numbers, others])
            # Of centroids as far one distance may be less by its last digit.
            lengths = np.maximum.accumulate(
                np.hstack([lengths, self._lengths(np.sqrt(squares))]), axis=1
            )
        return numbers, lengths

    def margins(
        self,
        X: sources.Features,
        labels: np.ndarray,
        distances: np.ndarray,
        *,
        should_stop: _ShouldStop = None,
    ) -> np.ndarray:
        """Computes how sure the labels are, in one pass over the rows.

        Args:
          X, labels, distances, should_stop: as in `nearest`.

        Returns:
          The Euclidean distance to the second nearest centroid less that to the nearest, [N]; NaN
          where there is one centroid.
        """
        return pseudo_labels.margins(
            self.nearest(X, labels, distances, 2, should_stop=should_stop)[1]
        )

    def rows_at(
        self, X: sources.Features, positions: np.ndarray, *, should_stop: _ShouldStop = None
    ) -> np.ndarray:
        """Returns some rows as they are clustered, after preprocessing if there is any.

        Args:
          X, should_stop: as in `fit`.
          positions: [n] int, ascending, of the rows.

        Returns:
          [n, D] float32.
        """
        source = self._source_to_assign(X)
        reader = reader_of(source, len(self._centroids), 0, should_stop)
        return self._positions(reader.take(positions))

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
        inertia = weighted_inertia(sources.weighted_source(source, sample_weight), squares)
        return -self._squares(inertia)

    def transform(self, X: sources.Features) -> np.ndarray:
        """Returns the Euclidean distance of every row to every centroid: [N, K] as the centroids.

        They are computed in float64.
        """
        source, parts = self._source_to_assign(X), []
        reader = reader_of(source, len(self._centroids), 0)
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
        X = sources.opened_file(X)
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
            if scipy.sparse.issparse(X):
                raise InputError(
                    f"features: a sparse matrix {list(np.shape(X))}, and centroids are dense; give "
                    "X.toarray(), or fewer dimensions by sklearn.decomposition.TruncatedSVD"
                )
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
        reader = reader_of(source, len(self._centroids), 0, should_stop)
        with exact_float32():
            labels, squares = engines.nearest(reader, self._centroids, self._replicas())
        return labels, squares, source

    def _replicas(self) -> tf.distribute.Strategy:
        """Returns the strategy whose replicas share the rows of this call."""
        return self.strategy or tf.distribute.get_strategy()

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


def reader_of(
    source: FeatureSource, num_clusters: int, memory_bytes: int, should_stop: _ShouldStop = None
) -> ChunkReader:
    """Returns a reader of the rows in chunks of the size for K clusters; see `ChunkReader`."""
    rows = chunk_rows(source.num_examples, source.dim, num_clusters)
    return ChunkReader(source, rows, memory_bytes, should_stop)

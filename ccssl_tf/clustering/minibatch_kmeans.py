"""Mini-batch k-means as an estimator, fitted to all rows or batch by batch."""

import numpy as np
import numpy.typing as npt

from ccssl_tf.clustering import engines
from ccssl_tf.clustering.device.minibatch import MinibatchSteps
from ccssl_tf.clustering.device.minibatch_state import MinibatchState
from ccssl_tf.clustering.device.nearest import exact_float32
from ccssl_tf.clustering.estimator import KMeansEstimator, reader_of
from ccssl_tf.clustering.fitting.restarts import weighted_inertia
from ccssl_tf.clustering.rows import sources
from ccssl_tf.clustering.start import starts
from ccssl_tf.runs.errors import InputError


class MiniBatchKMeans(KMeansEstimator):
    """Mini-batch k-means as a scikit-learn estimator, which can also be fitted batch by batch.

    Attributes: those of `KMeans`.

    >>> rows = np.array([[0.0], [1.0], [10.0], [11.0]], np.float32)
    >>> kmeans = MiniBatchKMeans(2, initialization=rows[1:3])
    >>> print(kmeans.partial_fit(rows).partial_fit(rows[:2]).centroids.ravel())
    [ 0.5 10.5]
    """

    _partial: MinibatchState | None = None

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
        source = sources.weighted_source(source, sample_weight)
        reader = reader_of(source, settings.num_clusters, settings.memory_bytes)
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
            self._replicas(),
            seed=settings.seed,
            reassignment_ratio=settings.reassignment_ratio,
            row_weights=source.weights,
        )
        with exact_float32():
            steps.run_batch(np.arange(len(rows)), rows)
            self._partial = steps.state()
            self._centroids = self._partial.centroids
            labels, squares = engines.nearest(reader, self._centroids, self._replicas())
        self.cluster_centers_ = self._positions(self._centroids)
        self.labels_, self.n_steps_, self.n_iter_ = labels, self._partial.step, 1
        self.inertia_ = self._squares(weighted_inertia(source, squares))
        return self

    def fit(self, X: sources.Features, y: object = None, *args, **options):
        """Computes the centroids from all rows; see `KMeans.fit`."""
        self._partial = None
        return super().fit(X, y, *args, **options)

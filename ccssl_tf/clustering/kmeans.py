"""K-means over features that need not fit in memory, Lloyd's (section 4.2) or by mini-batches.

The paper clusters by Euclidean distances into K = 2000 clusters. Here float32 products find which
centroids may be the nearest, differences in float64 decide where several may be, and centroids are
float64 means. Rows go through in chunks of a size that depends on D and K alone: memory is bounded,
and the result does not depend on where the rows are kept.
"""

import tensorflow as tf

from ccssl_tf.clustering.estimator import KMeansEstimator
from ccssl_tf.clustering.kmeans_settings import ALGORITHMS, INITIALIZATIONS
from ccssl_tf.clustering.start import starts

__all__ = ["ALGORITHMS", "INITIALIZATIONS", "KMeans"]


class KMeans(KMeansEstimator):
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

    >>> import numpy as np
    >>> rows = np.array([[0.0], [1.0], [10.0], [11.0]], np.float32)
    >>> kmeans = KMeans(2, initialization=rows[:2]).fit(rows)
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
        verbose: bool = False,
        pca_dim: int = 0,
        whiten: bool = False,
        l2_normalize: bool = False,
        max_cluster_share: float = 1.0,
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
          verbose: to print how the fit goes, a line a pass; without it the logger "ccssl_tf.kmeans"
            is told, which shows warnings alone.
          checkpoint_seconds: time in seconds between two checkpoints inside a pass, at least.
          pca_dim, whiten, l2_normalize: see `preprocessing.Options`; centroids and distances are
            those of the transformed rows.
          max_cluster_share: clusters that hold more than this share of the rows are divided until
            none does, see `fitting.splitting`; there are more than K clusters then.
          strategy: a tf.distribute strategy whose replicas share the rows; by default the current
            one when a method is called. All workers must call the same methods with the same rows;
            the chief alone writes checkpoints, in storage that all of them share.
        """
        super().__init__(
            num_clusters,
            n_clusters=n_clusters,
            initialization=initialization,
            max_iterations=max_iterations,
            tolerance=tolerance,
            seed=seed,
            memory_gb=memory_gb,
            restarts=restarts,
            minibatch_size=minibatch_size,
            max_no_improvement=max_no_improvement,
            reassignment_ratio=reassignment_ratio,
            checkpoint_seconds=checkpoint_seconds,
            verbose=verbose,
            pca_dim=pca_dim,
            whiten=whiten,
            l2_normalize=l2_normalize,
            max_cluster_share=max_cluster_share,
            strategy=strategy,
        )
        self.algorithm = algorithm

    def _algorithm(self) -> str:
        return self.algorithm

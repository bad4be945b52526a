"""The clusters that a finished run of `ccssl_tf.cluster` found, for new features."""

import os
import pathlib
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ccssl_tf.clustering import engines, pseudo_labels
from ccssl_tf.clustering.device.nearest import exact_float32
from ccssl_tf.clustering.estimator import reader_of
from ccssl_tf.clustering.rows.preprocessing import Preprocessing
from ccssl_tf.data import numpy_files
from ccssl_tf.data.feature_source import FeatureSource
from ccssl_tf.runs.digests import Digests
from ccssl_tf.runs.errors import CorruptArtifactError, InputError


class Assigned(NamedTuple):
    """What is known of N rows.

    Attributes:
      labels: [N] int32, the nearest centroid.
      distances: [N] float32, the Euclidean distance to it.
      margins: [N] float32, how much further the second nearest is; NaN where there is one centroid.
    """

    labels: np.ndarray
    distances: np.ndarray
    margins: np.ndarray


class FittedClusters:
    """Centroids, and what rows go through before they are compared with them.

    Attributes:
      centroids: [K, D] float32.
      preprocessing: `Preprocessing`, or None.
    """

    def __init__(self, run: str | os.PathLike):
        """Loads the clusters of the finished run in directory `run`.

        Raises:
          InputError: there is no finished run of `ccssl_tf.cluster`.
          CorruptArtifactError: its files are damaged.
        """
        run = pathlib.Path(run)
        path = run / "centroids.npy"
        if not path.is_file() or not (run / "DONE").is_file():
            raise InputError(f"{run}: no finished run of ccssl_tf.cluster there")
        Digests(run).refuse_damage("centroids.npy", "preprocessing.npz")
        advice = "cluster again in another directory"
        self.centroids = numpy_files.read_array(path, advice=advice)
        if self.centroids.ndim != 2 or self.centroids.dtype.kind != "f":
            raise CorruptArtifactError(
                f"{path}: no centroids [K, D] but {self.centroids.dtype} "
                f"{list(self.centroids.shape)}; {advice}"
            )
        prepared = run / "preprocessing.npz"
        self.preprocessing = Preprocessing.load(prepared) if prepared.is_file() else None

    def assign(self, source: FeatureSource, strategy: tf.distribute.Strategy) -> Assigned:
        """Finds the nearest centroids of all rows of a source, in two passes over them.

        Raises:
          InputError: rows of another dimension.
        """
        if self.preprocessing:
            source = self.preprocessing.applied_to(source)
        if source.dim != self.centroids.shape[1]:
            raise InputError(
                f"features of dimension {source.dim}, but the centroids have "
                f"{self.centroids.shape[1]}"
            )
        reader = reader_of(source, len(self.centroids), 0)
        with exact_float32():
            labels, squares = engines.nearest(reader, self.centroids, strategy)
            distances = np.sqrt(squares)
            others = np.empty([len(labels), 0], np.float32)
            if len(self.centroids) > 1:
                _, others = engines.nearest_beside(reader, self.centroids, labels, 1, strategy)
        nearest = np.hstack([distances[:, None], np.sqrt(others)])
        return Assigned(labels, distances, pseudo_labels.margins(nearest))

"""What a `KMeans` is to compute: values that can be right, and a digest of those that decide."""

import dataclasses
import hashlib
import os
from typing import Any

import numpy as np

from ccssl_tf.clustering.fitting import lloyd_fit
from ccssl_tf.clustering.rows import preprocessing
from ccssl_tf.clustering.rows.units import Units
from ccssl_tf.clustering.start import starts
from ccssl_tf.data.feature_source import FeatureSource
from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.files import file_sha256, fingerprint_of

ALGORITHMS = ("auto", *lloyd_fit.ASSIGNMENTS, "minibatch")
INITIALIZATIONS = starts.NAMES


@dataclasses.dataclass(frozen=True, kw_only=True)
class KMeansSettings:
    """Settings of a `KMeans`; attributes are the arguments of that name unless described here.

    Attributes:
      memory_bytes: int, `memory_gb` in bytes.
      preprocessing: `preprocessing.Options`.

    Raises:
      InputError: a value that can never be right.
    """

    num_clusters: int
    algorithm: str
    initialization: starts.Start
    max_iterations: int
    tolerance: float
    seed: int
    memory_bytes: int
    restarts: int
    minibatch_size: int
    max_no_improvement: int
    reassignment_ratio: float
    checkpoint_seconds: float
    preprocessing: preprocessing.Options
    max_cluster_share: float = 1.0

    def __post_init__(self) -> None:
        start = self.initialization
        is_given = not isinstance(start, str) or start.endswith(".npy")
        if self.num_clusters < 1:
            raise InputError(f"num_clusters={self.num_clusters}: at least one cluster is needed")
        if self.algorithm not in ALGORITHMS:
            raise InputError(
                f"algorithm={self.algorithm!r}: unknown; there are {', '.join(ALGORITHMS)}"
            )
        if not is_given and start not in INITIALIZATIONS:
            raise InputError(
                f"initialization={start!r}: unknown; there are {', '.join(INITIALIZATIONS)}, an "
                "array [K, D] or its .npy"
            )
        if self.max_iterations < 1 or not self.tolerance >= 0:
            raise InputError(
                f"max_iterations={self.max_iterations}, tolerance={self.tolerance}: they must be "
                "at least 1 and 0"
            )
        if (
            self.minibatch_size < 1
            or self.max_no_improvement < 0
            or not 0 <= self.reassignment_ratio < 1
        ):
            raise InputError(
                f"minibatch_size={self.minibatch_size}, max_no_improvement="
                f"{self.max_no_improvement}, reassignment_ratio={self.reassignment_ratio}: they "
                "must be at least 1, at least 0 and in [0, 1)"
            )
        if self.restarts < 1 or (self.restarts > 1 and is_given and self.algorithm != "minibatch"):
            raise InputError(
                f"restarts={self.restarts}: at least 1; and 1 where the first centroids are given, "
                "every fit would be the same"
            )

        if not 0 < self.max_cluster_share <= 1:
            raise InputError(
                f"max_cluster_share={self.max_cluster_share:g}: must be more than 0 and at most 1"
            )

    def check_rows(self, num_examples: int) -> None:
        """Raises InputError where N rows are too few for the clusters."""
        if self.num_clusters > num_examples:
            raise InputError(
                f"num_clusters={self.num_clusters}: more clusters than there are rows "
                f"(n_samples={num_examples})"
            )
        if self.max_cluster_share * num_examples < 1:
            raise InputError(
                f"max_cluster_share={self.max_cluster_share:g}: less than one of {num_examples} "
                f"rows; give {1 / num_examples:g} or more"
            )

    def in_units(self, units: Units, dim: int) -> "KMeansSettings":
        """Returns the same settings with given centroids [K, D] in other units."""
        start = self.initialization
        is_name = isinstance(start, str) and start in INITIALIZATIONS
        if units.are_those_of_the_rows or is_name:
            return self
        given = starts.given_array(start, self.num_clusters, dim)
        return dataclasses.replace(self, initialization=units.to_float32(given))

    def identity(self, source: FeatureSource) -> str:
        """Returns a digest of what decides about the state after a pass, for checkpoints.

        Args:
          source: of the rows that are clustered.
        """
        start = self.initialization
        if isinstance(start, str | os.PathLike) and start not in INITIALIZATIONS:
            start = file_sha256(start)
        elif not isinstance(start, str):
            start = hashlib.sha256(np.asarray(start, np.float32).tobytes()).hexdigest()
        parts: list[Any] = [
            source.fingerprint(),
            self.num_clusters,
            self.algorithm,
            start,
            self.seed,
            self.memory_bytes,
        ]
        if self.algorithm == "minibatch":
            parts.append(
                dict(
                    batch_rows=self.minibatch_size,
                    max_no_improvement=self.max_no_improvement,
                    reassignment_ratio=self.reassignment_ratio,
                )
            )
        if source.weights is not None:
            parts.append(hashlib.sha256(source.weights.tobytes()).hexdigest())
        return fingerprint_of(parts)

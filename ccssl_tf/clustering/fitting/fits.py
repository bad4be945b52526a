"""The fits of a `KMeans`: one for each start, by the algorithm of its settings."""

import os
from typing import Any

import numpy as np
import tensorflow as tf

from ccssl_tf import distribution
from ccssl_tf.clustering.fitting import lloyd_fit, minibatch_fit, restarts
from ccssl_tf.clustering.fitting.pass_log import PassLog
from ccssl_tf.clustering.fitting.restarts import FitResult
from ccssl_tf.clustering.kmeans_settings import KMeansSettings
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader
from ccssl_tf.clustering.start import starts


def best_fit(
    reader: ChunkReader,
    settings: KMeansSettings,
    strategy: tf.distribute.Strategy,
    log: PassLog,
    checkpoint_path: str | os.PathLike | None,
) -> FitResult:
    """Fits from as many starts as there are restarts; returns the result of lowest inertia.

    Args:
      reader: of the rows.
      settings: what is to be computed.
      strategy: whose replicas share the rows.
      log: shows the passes.
      checkpoint_path: path of the first fit's checkpoint, see `restarts`; None: no checkpoints.
    """
    identity = settings.identity(reader.source) if checkpoint_path else ""

    def fit(number: int, path: str | os.PathLike | None) -> FitResult:
        seed = restarts.fit_seed(settings.seed, number)
        return _fit(reader, settings, strategy, seed, log, path, identity)

    return restarts.best_of(
        settings.restarts,
        fit,
        checkpoint_path,
        identity,
        writes=distribution.is_chief(strategy),
    )


def _fit(
    reader: ChunkReader,
    settings: KMeansSettings,
    strategy: tf.distribute.Strategy,
    seed: int,
    log: PassLog,
    path: str | os.PathLike | None,
    identity: str,
) -> FitResult:
    """Fits from the start that `seed` draws."""

    def start() -> np.ndarray:
        how = settings.initialization
        return starts.initial_centroids(reader, settings.num_clusters, how, seed)

    saving: dict[str, Any] = dict(
        checkpoint_path=path, identity=identity, checkpoint_seconds=settings.checkpoint_seconds
    )
    if settings.algorithm == "minibatch":
        batches = minibatch_fit.Options(
            seed=seed,
            batch_rows=settings.minibatch_size,
            max_passes=settings.max_iterations,
            tolerance=settings.tolerance,
            max_no_improvement=settings.max_no_improvement,
            reassignment_ratio=settings.reassignment_ratio,
        )
        return minibatch_fit.fit(reader, start, batches, strategy, log=log, **saving)
    passes = lloyd_fit.Options(
        settings.algorithm, settings.max_iterations, settings.tolerance, strategy
    )
    return lloyd_fit.fit(reader, start, passes, log=log, **saving)

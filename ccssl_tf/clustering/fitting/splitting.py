"""Splits clusters that hold too large a share of the rows, so that none does.

Rule. As long as a cluster holds more than the share S of all N rows, the largest one (of equals the
one of the lowest number) is divided into two by exact k-means of its rows alone, K = 2. One half
keeps the number, the other gets the next free one: K grows, and the centroids of all other clusters
stay as the fit left them. When none is over S the rows are assigned to the nearest of all centroids
again, as pseudo-labels are; where that puts a cluster over S once more, it goes on with these
labels. It ends, since each step adds a centroid, unless more than S N rows are equal, which is an
error.

K is not kept by dropping centroids of small clusters: their rows would join others, which would
undo what the splits have done, and rare images would lose the clusters of their own.
"""

import dataclasses
import hashlib
import os
import pathlib

import numpy as np
import tensorflow as tf

from ccssl_tf import distribution
from ccssl_tf.clustering import checkpoint, engines
from ccssl_tf.clustering.fitting import fits
from ccssl_tf.clustering.fitting.pass_log import PassLog
from ccssl_tf.clustering.fitting.restarts import FitResult, fit_seed, weighted_inertia
from ccssl_tf.clustering.kmeans_settings import KMeansSettings
from ccssl_tf.clustering.messages import LOGGER
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader
from ccssl_tf.clustering.rows.some_rows import SomeRows
from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.files import fingerprint_of


@dataclasses.dataclass
class SplitState:
    """The clusters after some splits.

    Attributes:
      fitted: str, digest of the centroids of the fit.
      centroids: [K, D] float32.
      labels: [N] int32, the cluster that each row is in.
    """

    fitted: str
    centroids: np.ndarray
    labels: np.ndarray

    def sizes(self) -> np.ndarray:
        """Returns the number of rows of every cluster, [K]."""
        return np.bincount(self.labels, minlength=len(self.centroids))


def split_large(
    reader: ChunkReader,
    fitted: FitResult,
    settings: KMeansSettings,
    strategy: tf.distribute.Strategy,
    checkpoint_path: str | os.PathLike | None,
) -> FitResult:
    """Returns the clusters of a fit after all splits that `settings.max_cluster_share` asks for;
    tells of them.

    Args:
      reader: of the rows.
      fitted: what is split; returned as it is where no cluster is over the share.
      settings: of the fit.
      strategy: whose replicas share the rows.
      checkpoint_path: of the fit. The splits are saved beside it, with `.split` added, and that of
        the clusters that are being divided, with `.split<K>` added. None: nothing is saved.

    Raises:
      InputError: more rows than the share are equal.
      Interrupted: the reader was told to stop; what is saved is gone on with.
    """
    most = settings.max_cluster_share * len(fitted.labels)
    digest = hashlib.sha256(fitted.centroids.tobytes()).hexdigest()
    state = SplitState(digest, fitted.centroids, fitted.labels.copy())
    if state.sizes().max() <= most:
        return fitted
    identity, path = "", pathlib.Path(f"{checkpoint_path}.split") if checkpoint_path else None
    if path:
        identity = fingerprint_of([settings.identity(reader.source), settings.max_cluster_share])
        saved = checkpoint.load(path, identity, SplitState)
        # On a GPU a fit that is continued may end with other bits; then the splits begin anew.
        state = saved if saved and saved.fitted == digest else state
    while True:
        while state.sizes().max() > most:
            number = len(state.centroids)
            halves_path = pathlib.Path(f"{path}{number}") if path else None
            state = _split_largest(reader, state, settings, strategy, halves_path)
            if path and halves_path and distribution.is_chief(strategy):
                checkpoint.save(path, state, identity)
                halves_path.unlink(missing_ok=True)
        labels, squares = engines.nearest(reader, state.centroids, strategy)
        state = dataclasses.replace(state, labels=labels)
        if state.sizes().max() <= most:
            break
    LOGGER.info(
        f"split {len(fitted.centroids)} clusters into {len(state.centroids)}: none holds "
        f"more than {state.sizes().max() / len(labels):.3%} of the rows"
    )
    inertia = weighted_inertia(reader.source, squares)
    return dataclasses.replace(fitted, centroids=state.centroids, labels=labels, inertia=inertia)


def _split_largest(
    reader: ChunkReader,
    state: SplitState,
    settings: KMeansSettings,
    strategy: tf.distribute.Strategy,
    path: pathlib.Path | None,
) -> SplitState:
    """Returns the clusters after the largest one is divided; path: of that fit's checkpoint."""
    number, largest = len(state.centroids), int(np.argmax(state.sizes()))
    members = np.flatnonzero(state.labels == largest)
    share = len(members) / len(state.labels)
    LOGGER.info(
        f"split cluster {largest}: its {len(members)} rows are {share:.3%} of all, more "
        f"than {settings.max_cluster_share:.3%}"
    )
    source = SomeRows(reader.source, members)
    halving = dataclasses.replace(
        settings,
        num_clusters=2,
        algorithm="lloyd",
        initialization="k-means++",
        restarts=1,
        seed=fit_seed(settings.seed, number),
    )
    log = PassLog(len(members), source.dim, 2, settings.max_iterations + 1, lambda values: None)
    halves = fits.best_fit(reader.of_source(source), halving, strategy, log, path)
    sizes = np.bincount(halves.labels, minlength=2)
    if not sizes.all():
        raise InputError(
            f"max_cluster_share={settings.max_cluster_share:g}: {len(members)} rows, {share:.3%} "
            "of all, are equal, so that no centroids can divide them; remove copies or allow this "
            "share"
        )
    centroids = np.concatenate([state.centroids, halves.centroids[1:]])
    centroids[largest] = halves.centroids[0]
    labels = state.labels.copy()
    labels[members[halves.labels == 1]] = number
    LOGGER.info(
        f"split cluster {largest} into {largest} of {sizes[0]} and {number} of {sizes[1]} rows"
    )
    return SplitState(state.fitted, centroids, labels)

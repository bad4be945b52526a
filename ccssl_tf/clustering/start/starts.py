"""Where k-means starts: rows drawn in one of several ways, or centroids that are given."""

import os
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ccssl_tf.clustering.messages import LOGGER
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader
from ccssl_tf.clustering.start.kmeans_parallel import kmeans_parallel
from ccssl_tf.clustering.start.kmeans_plus_plus import (
    kmeans_plus_plus,
    random_positions,
    sample_size,
)
from ccssl_tf.data import numpy_files
from ccssl_tf.data.feature_source import FeatureSource
from ccssl_tf.runs.errors import InputError

NAMES = ("k-means++", "random", "k-means||")

# One of `NAMES`, an array [K, D], or the path of one (`.npy`).
Start: TypeAlias = str | os.PathLike | npt.ArrayLike


def initial_centroids(reader: ChunkReader, num_clusters: int, how: Start, seed: int) -> np.ndarray:
    """Returns the first centroids, [K, D] float32; tells how rows are sampled if they are.

    Args:
      reader: of the rows.
      num_clusters: K.
      how: see `Start`.
      seed: of what is drawn.

    Raises:
      InputError: an array of another shape, or not finite; not a file of an array.
    """
    source = reader.source
    if not isinstance(how, str) or how not in NAMES:
        return given_centroids(how, num_clusters, source.dim)
    if how == "k-means||":
        return kmeans_parallel(reader, num_clusters, seed)
    count = num_clusters
    if how == "k-means++":
        count = sample_size(source.num_examples, source.dim, num_clusters, reader.memory_bytes)
        LOGGER.info(f"start: greedy k-means++ on {count} of {source.num_examples} rows")
    weights = source.weights
    positions = random_positions(source.num_examples, count, seed, weights)
    rows = reader.take(positions)
    check_rows(source, positions, rows)
    if how == "random":
        return rows
    weights = None if weights is None else weights[positions]
    return kmeans_plus_plus(rows, num_clusters, seed, reader.check_stop, weights)


def given_centroids(
    given: str | os.PathLike | npt.ArrayLike, num_clusters: int, dim: int
) -> np.ndarray:
    """Returns an array [K, D], or what the `.npy` at a path holds, as float32.

    Raises:
      InputError: another shape, not numbers, or not finite; not a file of an array.
    """
    array = given_array(given, num_clusters, dim)
    with np.errstate(over="ignore"):
        centroids = array.astype(np.float32)
    if not np.isfinite(centroids).all():
        raise InputError(f"{_name(given)}: the array holds a NaN or an infinity")
    return centroids


def given_array(
    given: str | os.PathLike | npt.ArrayLike, num_clusters: int, dim: int
) -> np.ndarray:
    """Returns an array [K, D], or what the `.npy` at a path holds, of the type it has.

    Raises:
      InputError: another shape, or not numbers; no such file.
      CorruptArtifactError: the file is damaged, or holds something else.
    """
    name = _name(given)
    if isinstance(given, str | os.PathLike):
        given = numpy_files.read_array(given, mapped=True)
    array = np.asarray(given)
    if (
        not isinstance(array, np.ndarray)
        or array.shape != (num_clusters, dim)
        or array.dtype.kind not in "fiu"
    ):
        raise InputError(
            f"{name}: an array {array.dtype} {list(array.shape)} was given, centroids are "
            f"[{num_clusters}, {dim}]"
        )
    return array


def _name(given: str | os.PathLike | npt.ArrayLike) -> str:
    return os.fspath(given) if isinstance(given, str | os.PathLike) else "initialization"


def check_rows(source: FeatureSource, positions: np.ndarray, rows: np.ndarray) -> None:
    """Raises the source's error for the first of `rows` [n, D] that is not finite.

    Args:
      source: of the rows.
      positions: [n] int, of the rows in it.
      rows: what was read there.
    """
    is_finite = np.isfinite(rows).all(axis=-1)
    if not is_finite.all():
        raise source.not_finite(int(positions[np.argmin(is_finite)]))

"""Fits what `preprocessing` does to features: mean and covariance of all rows, principal axes.

The mean and covariance are accumulated in float64 in one pass, so that the rows need not fit in
memory.
"""

import dataclasses
import os
from collections.abc import Callable

import numpy as np
import scipy.linalg
import tensorflow as tf

from ccssl_tf import distribution
from ccssl_tf.clustering import checkpoint
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader, reader_of_worker
from ccssl_tf.clustering.rows.preprocessing import Options, Preprocessing
from ccssl_tf.clustering.rows.row_copies import as_float64
from ccssl_tf.data.feature_source import FeatureSource
from ccssl_tf.runs.files import fingerprint_of

# Bytes of the rows, as float64, that are added to the covariance at a time.
_CHUNK_BYTES = 64 << 20


def fit(
    source: FeatureSource,
    options: Options,
    *,
    strategy: tf.distribute.Strategy | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Preprocessing:
    """Fits on all rows, in one pass if they are projected, else in none.

    The sign of an axis is the one that makes its largest entry positive. With whitening, axes along
    which the rows do not differ (by more than rounding) become 0, as they carry nothing.

    Args:
      source: of the rows.
      options: what is to be done.
      strategy: its workers share the rows; all end with the same arrays. None: the current one.
      should_stop: asked between chunks; True ends the fit with Interrupted.

    Raises:
      InputError: more components than rows or dimensions; a NaN or infinity (CorruptArtifactError
        in a shard).
    """
    options.check(source.num_examples, source.dim)
    if not options.projects:
        return Preprocessing(
            np.zeros(0, np.float32), np.zeros([0, 0], np.float32), np.zeros(0), options.l2_normalize
        )
    strategy = strategy or tf.distribute.get_strategy()
    count = options.pca_dim or min(source.num_examples, source.dim)
    mean, covariance = _moments(source, strategy, should_stop)
    wanted = [source.dim - count, source.dim - 1]
    variance, axes = scipy.linalg.eigh(
        covariance, lower=True, overwrite_a=True, check_finite=False, subset_by_index=wanted
    )
    variance, axes = np.maximum(variance[::-1], 0), axes[:, ::-1].T
    axes = axes * np.sign(axes[np.arange(count), np.abs(axes).argmax(axis=1)])[:, None]
    if options.whiten:
        real = variance > variance[0] * source.dim * np.finfo(np.float64).eps
        axes = axes * np.divide(1, np.sqrt(variance), out=np.zeros(count), where=real)[:, None]
    if not distribution.is_chief(strategy):
        axes = np.zeros_like(axes)
    # The eigenvectors of another machine may differ in the last bit, so all take the chief's.
    axes = distribution.sum_over_workers(np.ascontiguousarray(axes), strategy)
    return Preprocessing(
        mean.astype(np.float32), axes.astype(np.float32), variance, options.l2_normalize
    )


def fit_or_load(
    source: FeatureSource,
    options: Options,
    path: str | os.PathLike | None,
    *,
    strategy: tf.distribute.Strategy,
    should_stop: Callable[[], bool] | None,
) -> Preprocessing:
    """Returns what is kept at `path` for these rows and options, or fits it and keeps it there.

    Args and errors are those of `fit`; with a path of None nothing is kept.
    """
    if not path:
        return fit(source, options, strategy=strategy, should_stop=should_stop)
    identity = fingerprint_of([source.fingerprint(), *dataclasses.astuple(options)])
    fitted = checkpoint.load(path, identity, Preprocessing)
    if fitted is None:
        fitted = fit(source, options, strategy=strategy, should_stop=should_stop)
        if distribution.is_chief(strategy):
            checkpoint.save(path, fitted, identity)
    return fitted


def _moments(
    source: FeatureSource,
    strategy: tf.distribute.Strategy,
    should_stop: Callable[[], bool] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean [D] and the covariance [D, D], its lower triangle, in float64."""
    rows = int(np.clip(_CHUNK_BYTES // (8 * source.dim), 256, 8192))
    reader = ChunkReader(source, rows, 0, should_stop)
    # The first row is subtracted from all, so that a large mean costs no precision.
    shift = reader.take(np.zeros(1, np.int64))[0].astype(np.float64)
    total, products = np.zeros(source.dim), np.zeros([source.dim, source.dim], order="F")
    part = reader_of_worker(reader, strategy)
    for start, chunk in part:
        is_finite = np.isfinite(chunk).all(axis=1)
        if not is_finite.all():
            raise part.source.not_finite(start + int(np.argmin(is_finite)))
        values = as_float64(chunk) - shift
        weights = part.source.weights_of(slice(start, start + len(chunk)))
        if weights is None:
            total += values.sum(axis=0)
        else:
            total += weights @ values
            values *= np.sqrt(weights)[:, None]
        products = scipy.linalg.blas.dsyrk(
            1.0, values.T, beta=1.0, c=products, lower=1, overwrite_c=1
        )
    total = distribution.sum_over_workers(total, strategy)
    products = distribution.sum_over_workers(products, strategy)
    count = source.total_weight
    for column in range(source.dim):
        products[:, column] -= total * (total[column] / count)
    products /= max(count - 1, 1)
    return shift + total / count, products

"""Rows of features [N, D] of any kind that k-means takes, as sources that can be read repeatedly.

The kinds are an array, a tf.data, a feature directory, and any other `FeatureSource`.
"""

import copy
import hashlib
import os
import pathlib
import zlib
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from ccssl_tf.data import numpy_files
from ccssl_tf.data.datasets import fixed
from ccssl_tf.data.feature_directory import DirectorySource
from ccssl_tf.data.feature_source import FeatureSource, generated
from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.files import fingerprint_of

# [N, D] array of numbers; path of an .npy file of it, or of a feature directory; tf.data.Dataset of
# [B, D]; or a source.
Features: TypeAlias = npt.ArrayLike | tf.data.Dataset | str | os.PathLike | FeatureSource

# Rows of the blocks in which a tf.data is read when only some of its rows are wanted.
_BLOCK_ROWS = 1024


def open_source(features: Features, memory_bytes: int) -> FeatureSource:
    """Returns the source of the rows that `features` stands for.

    Args:
      features: see `Features`; a source is returned as it is.
      memory_bytes: a tf.data of no more bytes than this is read once and kept as an array.

    Raises:
      InputError: no rows, not two-dimensional, or not numbers.
    """
    if isinstance(features, FeatureSource):
        return features
    if isinstance(features, str | os.PathLike):
        return DirectorySource(features)
    if isinstance(features, tf.data.Dataset):
        return _open_dataset(features, memory_bytes)
    return ArraySource(features)


def opened_file(features: Features) -> Features:
    """Returns the array in an `.npy` file, of which the system reads what is used; others as is.

    Raises:
      InputError: no such file.
      CorruptArtifactError: it is damaged, or holds something else.
    """
    if isinstance(features, str | os.PathLike) and pathlib.Path(features).suffix == ".npy":
        return numpy_files.read_array(features, mapped=True)
    return features


class ArraySource(FeatureSource):
    """Rows in memory.

    Attributes (beside those of `FeatureSource`):
      array: [N, D], any float or integer type.
    """

    in_memory = True

    def __init__(self, array: npt.ArrayLike):
        """Args: array: [N, D], any float or integer type.

        Raises:
          InputError: no rows, not two-dimensional, or not numbers.
        """
        array = np.asarray(array)
        if array.ndim != 2 or array.dtype.kind not in "fiu":
            raise InputError(
                f"features: expected an array of numbers [N, D], found {array.dtype} "
                f"{list(array.shape)}"
            )
        if not array.size:
            raise InputError(
                f"features: shape {list(array.shape)} holds no features; there is nothing to "
                "cluster"
            )
        self.array = array
        self.num_examples, self.dim = array.shape
        self.num_bytes, self.bytes_per_pass, self.dtype = array.nbytes, 0, array.dtype

    def fingerprint(self) -> str:
        """Returns a digest of the rows."""
        return hashlib.sha256(np.ascontiguousarray(self.array).view(np.uint8).data).hexdigest()

    def chunks(self, rows: int) -> Iterator[np.ndarray]:
        """Yields the rows in order as [rows, D], without a copy; the last chunk may have fewer."""
        for start in range(0, self.num_examples, rows):
            yield self.array[start : start + rows]

    def blocks_holding(self, positions: np.ndarray) -> tuple[Iterable[np.ndarray], np.ndarray]:
        """Returns the array as the one block, and `positions`."""
        return [self.array], positions

    def shuffled(
        self, generator: np.random.Generator, rows: int, skip: int, faults: list[Exception]
    ) -> tf.data.Dataset:
        """See `FeatureSource`; all rows are permuted together."""
        order = generator.permutation(self.num_examples)

        def windows() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for start in range(skip, self.num_examples, rows):
                yield order[start : start + rows], self.array[order[start : start + rows]]

        return generated(windows, self.shuffled_spec(), faults)

    def not_finite(self, position: int) -> Exception:
        """Returns the error to raise for a row that is not finite."""
        return InputError(
            f"features: row {position} holds a NaN, an infinity or a number beyond float32; remove "
            "it"
        )


class DatasetSource(FeatureSource):
    """A tf.data of [B, D] too large to keep; each pass must yield the same rows in order."""

    in_memory = False

    def __init__(self, dataset: tf.data.Dataset, dim: int, checksums: np.ndarray):
        """Args: dataset: of [B, D]; dim: D; checksums: [N] uint32, of the rows in their order."""
        self._dataset, self._checksums = dataset, checksums
        self.num_examples, self.dim = len(checksums), dim
        self.dtype = np.dtype(dataset.element_spec.dtype.as_numpy_dtype)
        self.num_bytes = self.num_examples * dim * self.dtype.itemsize
        self.bytes_per_pass = self.num_bytes

    def fingerprint(self) -> str:
        """Returns a digest of the shape: to digest the rows would take a pass over them."""
        return fingerprint_of(["tf.data", self.num_examples, self.dim])

    def chunks(self, rows: int) -> Iterator[np.ndarray]:
        """Yields the rows in order as [rows, D]; the last chunk may have fewer.

        Raises:
          InputError: they are not those of the pass before.
        """
        start = 0
        for chunk in self._dataset.rebatch(rows).prefetch(2).as_numpy_iterator():
            expected = self._checksums[start : start + len(chunk)]
            if len(expected) < len(chunk):
                raise self.other_count(start + len(chunk))
            differs = np.flatnonzero(_checksums(chunk) != expected)
            if len(differs):
                raise InputError(
                    f"features: row {start + differs[0]} of the tf.data is not what it was on the "
                    "pass before; every pass must give the same rows in the same order "
                    "(reshuffle_each_iteration=False, no random maps)"
                )
            yield chunk
            start += len(chunk)

    def blocks_holding(self, positions: np.ndarray) -> tuple[Iterable[np.ndarray], np.ndarray]:
        """Returns blocks of all rows, and `positions`."""
        return self.chunks(_BLOCK_ROWS), positions

    def not_finite(self, position: int) -> Exception:
        """Returns the error to raise for a row that is not finite."""
        return InputError(
            f"features: row {position} of the tf.data holds a NaN, an infinity or a number whose "
            "square is beyond float32 (1e19 is); remove or scale it"
        )


def _checksums(rows: np.ndarray) -> np.ndarray:
    """Returns a number that other rows [n, D] are unlikely to have, [n] uint32."""
    return np.array([zlib.crc32(np.ascontiguousarray(row).data) for row in rows], np.uint32)


def _open_dataset(dataset: tf.data.Dataset, memory_bytes: int) -> FeatureSource:
    """Returns the source of a tf.data, after one pass that counts its rows and keeps what fits."""
    spec = dataset.element_spec
    if not isinstance(spec, tf.TensorSpec) or spec.shape.rank not in (2, None):
        raise InputError(f"features: expected a tf.data of [B, D], found elements {spec}")
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise InputError(
            "features: the tf.data is endless; leave out repeat(), each pass reads it from its "
            "beginning"
        )
    dataset = fixed(dataset)
    kept: list[np.ndarray] = []
    checksums: list[np.ndarray] = []
    count, size = 0, 0
    dim: int | None = spec.shape[-1] if spec.shape.rank else None
    for batch in dataset.as_numpy_iterator():
        if batch.ndim != 2 or (dim is not None and batch.shape[1] != dim):
            raise InputError(
                f"features: expected batches [B, {dim or 'D'}] in the tf.data, found "
                f"{list(batch.shape)}"
            )
        count, dim, size = count + len(batch), batch.shape[1], size + batch.nbytes
        checksums.append(_checksums(batch))
        if size <= memory_bytes:
            kept.append(batch)
        else:
            kept.clear()
    if not count or dim is None:
        raise InputError("features: the tf.data is empty; there is nothing to cluster")
    if size <= memory_bytes:
        return ArraySource(np.concatenate(kept))
    return DatasetSource(dataset, dim, np.concatenate(checksums))


def weighted_source(source: FeatureSource, weights: npt.ArrayLike | None) -> FeatureSource:
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

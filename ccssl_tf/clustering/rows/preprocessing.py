"""What may be done to features before they are clustered: PCA, whitening, L2 normalisation.

It is DeepCluster's (Caron and others 2018); the paper does none of it (section 4.2). Other data
sets that are assigned go through what `preprocessing_fit` fitted on the first.
"""

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf

from ccssl_tf.clustering import checkpoint
from ccssl_tf.clustering.rows.row_copies import as_float32
from ccssl_tf.clustering.rows.sources import ArraySource
from ccssl_tf.data.feature_source import FeatureSource
from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.files import fingerprint_of

# Bytes of the rows that are transformed at a time.
_CHUNK_BYTES = 64 << 20
_FORMAT = "ccssl_tf preprocessing 1"


@dataclasses.dataclass(frozen=True)
class Options:
    """What is to be done, in this order.

    Attributes:
      pca_dim: int, P, the number of principal axes to project on; 0: none, or with `whiten` all.
      whiten: bool, whether the coordinates along these are divided by their standard deviation.
      l2_normalize: bool, whether rows are divided by their length.
    """

    pca_dim: int = 0
    whiten: bool = False
    l2_normalize: bool = False

    @property
    def projects(self) -> bool:
        """Whether something is fitted."""
        return bool(self.pca_dim or self.whiten)

    def __bool__(self) -> bool:
        return self.projects or self.l2_normalize

    def check(self, num_examples: int, dim: int) -> None:
        """Raises InputError for more components than N rows of D features have."""
        if not 0 <= self.pca_dim <= min(num_examples, dim):
            raise InputError(
                f"pca_dim={self.pca_dim}: {num_examples} rows of {dim} features have 1 to "
                f"{min(num_examples, dim)} components"
            )


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """A transformation of rows, as it was fitted.

    Attributes:
      mean: [D] float32, subtracted from the rows; [0] if they are not projected.
      projection: [P, D] float32, principal axes by falling variance, with whitening each divided by
        the root of its variance; [0, 0] if rows are not projected.
      variance: [P] float64, of the rows along these axes.
      l2_normalize: bool, whether rows are then divided by their length; rows of length 0 stay.
    """

    mean: np.ndarray
    projection: np.ndarray
    variance: np.ndarray
    l2_normalize: bool

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Preprocessing":
        """Reads what `save` wrote.

        Raises:
          InputError: there is no such file, or it holds something else.
          CorruptArtifactError: it cannot be read.
        """
        loaded = checkpoint.load(path, _FORMAT, cls)
        if loaded is None:
            raise InputError(f"{path}: there is no preprocessing")
        return loaded

    def save(self, path: str | os.PathLike) -> None:
        """Writes an `.npz` of plain arrays."""
        checkpoint.save(path, self, _FORMAT)

    def fingerprint(self) -> str:
        """Returns a digest of all of it."""
        digests = [
            hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
            for array in (self.mean, self.projection)
        ]
        return fingerprint_of([*digests, bool(self.l2_normalize)])

    def transform(self, rows: np.ndarray) -> np.ndarray:
        """Returns rows [n, D] as [n, P] float32; [n, D] if they are not projected."""
        return self.graph(tf.constant(as_float32(rows))).numpy()

    def graph(self, rows: tf.Tensor) -> tf.Tensor:
        """Does what `transform` does, as TensorFlow operations."""
        rows = tf.cast(rows, tf.float32)
        if len(self.projection):
            rows = tf.matmul(rows - self.mean, self.projection, transpose_b=True)
        if self.l2_normalize:
            squares = tf.reduce_sum(tf.square(tf.cast(rows, tf.float64)), axis=-1, keepdims=True)
            rows = tf.math.divide_no_nan(rows, tf.cast(tf.sqrt(squares), tf.float32))
        return rows

    def applied_to(self, source: FeatureSource) -> FeatureSource:
        """Returns a source of the transformed rows.

        Rows in memory are transformed once, others whenever they are read.

        Raises:
          InputError: rows of another dimension than those it was fitted on.
        """
        if len(self.projection) and source.dim != len(self.mean):
            raise InputError(
                f"features of dimension {source.dim}, but the PCA was fitted on {len(self.mean)}; "
                "extract both alike"
            )
        transformed = PreprocessedSource(source, self)
        if not source.in_memory:
            return transformed
        rows, end = np.empty([transformed.num_examples, transformed.dim], np.float32), 0
        for chunk in transformed.chunks(transformed.rows_at_once):
            rows[end : end + len(chunk)] = chunk
            end += len(chunk)
        array = ArraySource(rows)
        array.weights = source.weights
        return array


class PreprocessedSource(FeatureSource):
    """The rows of a source, transformed whenever they are read.

    Attributes (beside those of `FeatureSource`):
      rows_at_once: int, number of rows that are transformed at a time.
    """

    in_memory = False
    dtype = np.dtype(np.float32)

    def __init__(self, source: FeatureSource, preprocessing: Preprocessing):
        """Args: source: of the rows; preprocessing: what is done to them."""
        self._source, self._preprocessing = source, preprocessing
        self.num_examples = source.num_examples
        self.dim = len(preprocessing.projection) or source.dim
        # The transformed rows are what may be kept, those of the source are what is read.
        self.num_bytes = 4 * self.num_examples * self.dim
        self.bytes_per_pass, self.weights = source.bytes_per_pass, source.weights
        self._row_bytes = source.dim * source.dtype.itemsize
        self.rows_at_once = max(_CHUNK_BYTES // (4 * source.dim), 16)

    def fingerprint(self) -> str:
        """Returns a digest of the rows and what is done to them."""
        return fingerprint_of([self._source.fingerprint(), self._preprocessing.fingerprint()])

    def chunks(self, rows: int) -> Iterator[np.ndarray]:
        """Yields the rows in order as [rows, P] float32; the last chunk may have fewer."""
        out, filled = np.empty([0, self.dim], np.float32), 0
        for chunk in self._source.chunks(min(rows, self.rows_at_once)):
            chunk = self._preprocessing.transform(chunk)
            while len(chunk):
                if not filled:
                    out = np.empty([rows, self.dim], np.float32)
                part = chunk[: rows - filled]
                out[filled : filled + len(part)] = part
                chunk, filled = chunk[len(part) :], filled + len(part)
                if filled == rows:
                    yield out
                    filled = 0
        if filled:
            yield out[:filled]

    def blocks_holding(self, positions: np.ndarray) -> tuple[Iterable[np.ndarray], np.ndarray]:
        """Returns the source's blocks with the rows at `positions`, transformed, [b, P]."""
        blocks, places = self._source.blocks_holding(positions)
        return map(self._preprocessing.transform, blocks), places

    def shuffled(
        self, generator: np.random.Generator, rows: int, skip: int, faults: list[Exception]
    ) -> tf.data.Dataset:
        """See `FeatureSource`; windows have as many bytes as `rows` transformed rows."""
        rows = max(rows * 4 * self.dim // self._row_bytes, 1)
        windows = self._source.shuffled(generator, rows, skip, faults)
        return windows.map(lambda positions, rows: (positions, self._preprocessing.graph(rows)))

    def reading_fault(self) -> Exception:
        """Returns the source's error where TensorFlow failed while it read."""
        return self._source.reading_fault()

    def not_finite(self, position: int) -> Exception:
        """Returns the source's error for a row that is not finite."""
        return self._source.not_finite(position)

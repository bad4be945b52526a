"""What may be done to features before they are clustered: PCA, whitening, L2 normalisation (Caron
and others 2018, DeepCluster).

None of it is in the paper (section 4.2). The mean and covariance are accumulated in float64 in one
pass, so that the rows need not fit in memory; the projection of a row is a float32 product.
Assigning another data set applies what was fitted on the first.
"""

import dataclasses
import hashlib

import numpy as np
import scipy.linalg
import tensorflow as tf

from ccssl_tf import distribution
from ccssl_tf.clustering import checkpoint, distributed, sources
from ccssl_tf.clustering.distances import as_float32, as_float64
from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.files import fingerprint_of

_CHUNK_BYTES = 64 << 20
_FORMAT = "ccssl_tf preprocessing 1"


@dataclasses.dataclass(frozen=True)
class Options:
    """What is to be done: pca_dim, P, 0: no PCA (with `whiten`: all dimensions); whiten;
    l2_normalize.
    """

    pca_dim: int = 0
    whiten: bool = False
    l2_normalize: bool = False

    @property
    def projects(self) -> bool:
        """Whether something is fitted."""
        return bool(self.pca_dim or self.whiten)

    def __bool__(self):
        return self.projects or self.l2_normalize

    def check(self, num_examples: int, dim: int):
        """Raises InputError for more components than N rows of D features have."""
        if not 0 <= self.pca_dim <= min(num_examples, dim):
            raise InputError(
                f"pca_dim={self.pca_dim}: {num_examples} rows of {dim} features have 1 to "
                f"{min(num_examples, dim)} components"
            )


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """What was fitted.

    Attributes:
      mean: [D] float32, taken from the rows; [0] if they are not projected.
      projection: [P, D] float32, principal axes by falling variance, with whitening divided by its
        root; [0, 0] if rows are not projected.
      variance: [P] float64, of the rows along these axes.
      l2_normalize: whether rows are then divided by their length; rows of length 0 stay.
    """

    mean: np.ndarray
    projection: np.ndarray
    variance: np.ndarray
    l2_normalize: bool

    @classmethod
    def load(cls, path) -> "Preprocessing":
        """Reads what `save` wrote; raises InputError, CorruptArtifactError."""
        found = checkpoint.load(path, _FORMAT, cls)
        if found is None:
            raise InputError(f"{path}: there is no preprocessing")
        return found

    def save(self, path):
        """Writes an `.npz` of plain arrays."""
        checkpoint.save(path, self, _FORMAT)

    def fingerprint(self) -> str:
        """Returns a digest of all of it."""
        digests = [
            hashlib.sha256(np.ascontiguousarray(array)).hexdigest()
            for array in (self.mean, self.projection)
        ]
        return fingerprint_of([*digests, bool(self.l2_normalize)])

    def transform(self, rows: np.ndarray) -> np.ndarray:
        """Returns rows [n, D] as [n, P] float32; [n, D] if they are not projected."""
        rows = as_float32(rows, np.empty(rows.shape, np.float32))
        if len(self.projection):
            rows -= self.mean
            rows = tf.matmul(rows, self.projection, transpose_b=True).numpy()
        if self.l2_normalize:
            norms = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
            rows /= np.where(norms == 0, 1, norms).astype(np.float32)[:, None]
        return rows

    def applied_to(self, source):
        """Returns a source of the transformed rows: in memory if the rows are, else transformed on
        each pass.

        Raises:
          InputError: rows of another dimension than those it was fitted on.
        """
        if len(self.projection) and source.dim != len(self.mean):
            raise InputError(
                f"features of dimension {source.dim}, but the PCA was fitted on {len(self.mean)}; "
                "extract both alike"
            )
        found = PreprocessedSource(source, self)
        if not source.in_memory:
            return found
        rows = np.empty([found.num_examples, found.dim], np.float32)
        step, end = found.rows_at_once, 0
        for chunk in found.chunks(step):
            rows[end : end + len(chunk)] = chunk
            end += len(chunk)
        return sources.ArraySource(rows)


def fit(source, options: Options, *, strategy=None, should_stop=None) -> Preprocessing:
    """Fits on all rows in one pass; none if nothing is projected.

    Of an axis the sign is the one that makes its largest entry positive. With whitening, axes along
    which the rows do not differ (by more than rounding) become 0, as they carry nothing.

    Args:
      source: of rows, as `sources.open_source` returns.
      options: what is to be done.
      strategy: its workers share the rows; all end with the same arrays.
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
    # Another machine's eigenvectors may differ in the last bit: all take the chief's.
    axes = distribution.sum_over_workers(np.ascontiguousarray(axes), strategy)
    return Preprocessing(
        mean.astype(np.float32), axes.astype(np.float32), variance, options.l2_normalize
    )


def fit_or_load(source, options: Options, path, *, strategy, should_stop) -> Preprocessing:
    """Returns what was kept at `path` for these rows and options, or fits and keeps it there; None:
    kept nowhere.
    """
    identity = path and fingerprint_of([source.fingerprint(), *dataclasses.astuple(options)])
    found = checkpoint.load(path, identity, Preprocessing) if path else None
    if found is None:
        found = fit(source, options, strategy=strategy, should_stop=should_stop)
        if path and distribution.is_chief(strategy):
            checkpoint.save(path, found, identity)
    return found


def _moments(source, strategy, should_stop):
    """Returns the mean [D] and the covariance [D, D], its lower triangle, in float64."""
    rows = int(np.clip(_CHUNK_BYTES // (8 * source.dim), 256, 8192))
    reader = sources.ChunkReader(source, rows, 0, should_stop)
    # All are taken relative to one of them, so that a large mean costs no precision.
    shift = reader.take(np.zeros(1, np.int64))[0].astype(np.float64)
    total, products, count = (
        np.zeros(source.dim),
        np.zeros([source.dim, source.dim], order="F"),
        source.num_examples,
    )
    own = distributed.reader_of_worker(reader, strategy)
    for start, chunk in own:
        finite = np.isfinite(chunk).all(axis=1)
        if not finite.all():
            raise own.source.not_finite(start + int(np.argmin(finite)))
        values = as_float64(chunk) - shift
        total += values.sum(axis=0)
        products = scipy.linalg.blas.dsyrk(
            1.0, values.T, beta=1.0, c=products, lower=1, overwrite_c=1
        )
    total, products = (
        distribution.sum_over_workers(total, strategy),
        distribution.sum_over_workers(products, strategy),
    )
    for column in range(source.dim):
        products[:, column] -= total * (total[column] / count)
    products /= max(count - 1, 1)
    return shift + total / count, products


class PreprocessedSource:
    """The rows of a source that is not in memory, transformed whenever they are read."""

    in_memory = False
    dtype = np.dtype(np.float32)

    def __init__(self, source, preprocessing: Preprocessing):
        self._source, self._preprocessing = source, preprocessing
        self.num_examples, self.dim = (
            source.num_examples,
            len(preprocessing.projection) or source.dim,
        )
        # What is kept in memory are transformed rows; what is read are the source's.
        self.num_bytes, self.bytes_per_pass = (
            4 * self.num_examples * self.dim,
            source.bytes_per_pass,
        )
        self._row_bytes = source.dim * source.dtype.itemsize
        self.rows_at_once = max(_CHUNK_BYTES // (4 * source.dim), 16)

    def fingerprint(self) -> str:
        """Returns a digest of the rows and what is done to them."""
        return fingerprint_of([self._source.fingerprint(), self._preprocessing.fingerprint()])

    def chunks(self, rows: int):
        """Yields the rows in order as [<= rows, P] float32."""
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

    def blocks_holding(self, positions: np.ndarray):
        """Returns an iterable of blocks [n, P] with the rows at `positions` (ascending) and their
        positions in it.
        """
        blocks, places = self._source.blocks_holding(positions)
        return map(self._preprocessing.transform, blocks), places

    def windows(self, generator, rows: int) -> list[list[range]]:
        """Like that of the source; windows of as many bytes before they are transformed."""
        return self._source.windows(generator, max(rows * 4 * self.dim // self._row_bytes, 1))

    def read_windows(self, windows: list[list[range]], first: int):
        """Yields the rows [w, P] of `windows`, what `windows()` returned, from number
        `first` on.
        """
        return map(self._preprocessing.transform, self._source.read_windows(windows, first))

    def not_finite(self, position: int) -> Exception:
        """Returns the error to raise for a row that is not finite."""
        return self._source.not_finite(position)

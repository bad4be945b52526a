"""Feature rows [N, D] that k-means reads again and again in one fixed order: an array, a tf.data or
a feature directory.
"""

import collections
import hashlib
import itertools
import os

import numpy as np
import tensorflow as tf

from ccssl_tf.clustering.distances import as_float32
from ccssl_tf.data.datasets import fixed
from ccssl_tf.data.feature_directory import DirectorySource
from ccssl_tf.runs.errors import InputError, Interrupted
from ccssl_tf.runs.files import fingerprint_of


def open_source(features, memory_bytes: int):
    """Returns the source of rows that `features` is.

    Args:
      features: [N, D] array of numbers; tf.data.Dataset of [B, D]; path of a feature directory; or
        a source, returned as it is.
      memory_bytes: a tf.data that fits is read once and kept as an array.

    Raises:
      InputError: no rows, not two-dimensional, or not numbers.
    """
    if hasattr(features, "blocks_holding"):
        return features
    if isinstance(features, str | os.PathLike):
        return DirectorySource(features)
    if isinstance(features, tf.data.Dataset):
        return _open_dataset(features, memory_bytes)
    return ArraySource(features)


class ArraySource:
    """Rows in memory."""

    in_memory = True

    def __init__(self, array):
        """Args: array: [N, D], any float or integer type."""
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
        self._array = array
        self.num_examples, self.dim = array.shape
        self.num_bytes, self.bytes_per_pass, self.dtype = array.nbytes, 0, array.dtype

    def fingerprint(self) -> str:
        """Returns a digest of the rows."""
        return hashlib.sha256(np.ascontiguousarray(self._array).view(np.uint8)).hexdigest()

    def chunks(self, rows: int):
        """Yields the rows in order as [<= rows, D]."""
        for start in range(0, self.num_examples, rows):
            yield self._array[start : start + rows]

    def blocks_holding(self, positions: np.ndarray):
        """Returns an iterable of blocks [n, D] with the rows at `positions` (ascending) and their
        positions in it.
        """
        return [self._array], positions

    def not_finite(self, position: int) -> Exception:
        """Returns the error to raise for a row that is not finite."""
        return InputError(
            f"features: row {position} holds a NaN, an infinity or a number beyond float32; remove "
            "it"
        )


class DatasetSource:
    """A tf.data of [B, D] too large to keep; it must yield the same rows in the same order on every
    pass.
    """

    in_memory = False

    def __init__(self, dataset: tf.data.Dataset, num_examples: int, dim: int):
        self._dataset = dataset
        self.num_examples, self.dim, self.dtype = (
            num_examples,
            dim,
            np.dtype(dataset.element_spec.dtype.as_numpy_dtype),
        )
        self.num_bytes = self.bytes_per_pass = num_examples * dim * dataset.element_spec.dtype.size

    def fingerprint(self) -> str:
        """Returns a digest of the shape: the rows of a tf.data have no cheaper one."""
        return fingerprint_of(["tf.data", self.num_examples, self.dim])

    def chunks(self, rows: int):
        """Yields the rows in order as [<= rows, D]."""
        return self._dataset.rebatch(rows).prefetch(2).as_numpy_iterator()

    def windows(self, generator, rows: int) -> list[list[range]]:
        """Returns the positions of windows of `rows` rows, in the one order in which they can be
        read.
        """
        del generator
        return [
            [range(start, min(start + rows, self.num_examples))]
            for start in range(0, self.num_examples, rows)
        ]

    def read_windows(self, windows: list[list[range]], first: int):
        """Yields the rows [w, D] of `windows`, what `windows()` returned, from number
        `first` on.
        """
        yield from itertools.islice(self.chunks(len(windows[0][0])), first, len(windows))

    def blocks_holding(self, positions: np.ndarray):
        """Returns an iterable of blocks [n, D] with the rows at `positions` (ascending) and their
        positions in it.
        """
        return self.chunks(1024), positions

    def not_finite(self, position: int) -> Exception:
        """Returns the error to raise for a row that is not finite."""
        return InputError(
            f"features: row {position} of the tf.data holds a NaN or an infinity; remove it"
        )


class PartSource:
    """Contiguous rows of another source; a feature directory reads no other shards than those that
    hold them.
    """

    def __init__(self, source, rows: slice):
        self._source, self._rows = source, rows
        self.in_memory, self.dim, self.dtype = source.in_memory, source.dim, source.dtype
        self.num_examples = rows.stop - rows.start
        self.num_bytes, self.bytes_per_pass = (
            size * self.num_examples // source.num_examples
            for size in (source.num_bytes, source.bytes_per_pass)
        )

    def chunks(self, rows: int):
        """Yields the rows in order as [<= rows, D]."""
        blocks, places = self._source.blocks_holding(np.arange(self._rows.start, self._rows.stop))
        first, last = int(places[0]), int(places[-1]) + 1
        end, waiting, count = 0, [], 0
        for block in blocks:
            start, end = end, end + len(block)
            block = block[max(first - start, 0) : max(last - start, 0)]
            while len(block):
                waiting.append(block[: rows - count])
                block, count = block[rows - count :], count + len(waiting[-1])
                if count == rows:
                    yield np.concatenate(waiting) if len(waiting) > 1 else waiting[0]
                    waiting, count = [], 0
        if waiting:
            yield np.concatenate(waiting)

    def blocks_holding(self, positions: np.ndarray):
        """Returns an iterable of blocks [n, D] with the rows at `positions` (ascending) and their
        positions in it.
        """
        return self._source.blocks_holding(positions + self._rows.start)

    def not_finite(self, position: int) -> Exception:
        """Returns the error to raise for a row that is not finite."""
        return self._source.not_finite(position + self._rows.start)


class ChunkReader:
    """Reads a source pass after pass in chunks of a fixed number of rows; what fits the memory is
    read once.
    """

    def __init__(self, source, rows: int, memory_bytes: int, should_stop=None):
        """Sets up the reading.

        Args:
          source: of rows.
          rows: per chunk.
          memory_bytes: the source is kept in memory if it is no larger than this.
          should_stop: asked before each chunk; True ends the reading with Interrupted.
        """
        self.source, self.memory_bytes, self._rows, self._should_stop = (
            source,
            memory_bytes,
            rows,
            should_stop,
        )
        self._keep = not source.in_memory and source.num_bytes <= memory_bytes
        self._keep_float32 = fits_as_float32(source, memory_bytes)
        self._kept = None
        self.bytes_read = 0

    def of_source(
        self, source, memory_bytes: int | None = None, rows: int | None = None
    ) -> "ChunkReader":
        """Returns a reader of another source, otherwise like this one."""
        return ChunkReader(
            source,
            rows or self._rows,
            self.memory_bytes if memory_bytes is None else memory_bytes,
            self._should_stop,
        )

    @property
    def keeps(self) -> bool:
        """Whether the rows are in memory, or will be after the first pass."""
        return self.source.in_memory or self._keep

    def load(self):
        """Reads what is to be kept in memory, if that has not been done."""
        if self._keep and self._kept is None:
            collections.deque(self, maxlen=0)

    def __iter__(self):
        """Yields (position of the first row, rows [n, D])."""
        start, kept = 0, []
        self.bytes_read = 0 if self._kept else self.source.bytes_per_pass
        for chunk in self._interruptible(self._kept or self.source.chunks(self._rows)):
            if self._keep and self._kept is None:
                kept.append(as_float32(chunk) if self._keep_float32 else chunk)
            yield start, chunk
            start += len(chunk)
        if self._keep and self._kept is None:
            self._kept = kept

    def from_row(self, first: int):
        """Yields what iterating does from row `first` on."""
        if not first or self.keeps:
            for start, chunk in self:
                if start + len(chunk) > first:
                    yield max(start, first), chunk[max(first - start, 0) :]
        elif first < self.source.num_examples:
            rest = self.of_source(
                PartSource(self.source, slice(first, self.source.num_examples)), memory_bytes=0
            )
            yield from ((first + start, chunk) for start, chunk in rest)
            self.bytes_read = rest.bytes_read

    def take(self, positions: np.ndarray) -> np.ndarray:
        """Returns the rows at `positions` (ascending), [n, D] float32."""
        blocks, local = (
            (self._kept, positions) if self._kept else self.source.blocks_holding(positions)
        )
        taken, start, done = np.empty([len(local), self.source.dim], np.float32), 0, 0
        for block in self._interruptible(blocks):
            stop = int(np.searchsorted(local, start + len(block)))
            as_float32(block[local[done:stop] - start], taken[done:stop])
            start, done = start + len(block), stop
            if done == len(local):
                return taken
        raise InputError(
            f"features: row {positions[done]} is missing; every pass must give the same rows"
        )

    def _interruptible(self, chunks):
        for chunk in chunks:
            self.check_stop()
            yield chunk

    def check_stop(self):
        """Raises Interrupted if it is time to stop."""
        if self._should_stop and self._should_stop():
            raise Interrupted("interrupted; the same command continues with the pass it was in")


def fits_as_float32(source, memory_bytes: int) -> bool:
    """Whether the float16 rows of a source are to be kept as float32, which saves converting them
    on every pass.
    """
    return source.dtype == np.float16 and 4 * source.num_examples * source.dim <= memory_bytes


def _open_dataset(dataset, memory_bytes):
    shape = getattr(dataset.element_spec, "shape", None)
    if shape is None or shape.rank not in (2, None):
        raise InputError(
            f"features: expected a tf.data of [B, D], found elements {dataset.element_spec}"
        )
    dataset = fixed(dataset)
    kept, count, dim, size = [], 0, shape[-1] if shape.rank else None, 0
    for batch in dataset.as_numpy_iterator():
        if batch.ndim != 2 or (dim is not None and batch.shape[1] != dim):
            raise InputError(
                f"features: expected batches [B, {dim or 'D'}] in the tf.data, found "
                f"{list(batch.shape)}"
            )
        count, dim, size = count + len(batch), batch.shape[1], size + batch.nbytes
        if size <= memory_bytes:
            kept.append(batch)
        else:
            kept.clear()
    if not count:
        raise InputError("features: the tf.data is empty; there is nothing to cluster")
    if size <= memory_bytes:
        return ArraySource(np.concatenate(kept))
    return DatasetSource(dataset, count, dim)

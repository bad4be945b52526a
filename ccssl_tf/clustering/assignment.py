"""One pass of Lloyd's k-means: the rows go to their nearest centroids. The contract of the ways to do it, and the plain one.

A pass is an object made for one fit, `NAME(reader, labels, sums)`, with `step(centroids, begun, on_rows) -> Assignment`; labels and sums
are those of the pass before (of a checkpoint, or -1 and nothing), and everything else it keeps between steps must not change what a step
returns. An interrupted pass is continued after the rows that were done: labels and sums are theirs, `begun` is the rest there is to know of
them. `on_rows(done, labels, squares, sums)` is called when the rows before `done` are done.
"""

import dataclasses
import functools

import numpy as np

from ccssl_tf.clustering import distances
from ccssl_tf.clustering.block_threads import BlockThreads, parts
from ccssl_tf.errors import InputError

_CHUNK_BYTES = 256 << 20
_MAX_CHUNK_ROWS = 8192
# Rows whose product is computed together, and rows of which what is computed one by one stays in the processor's cache.
_BLOCK_ROWS = 1024
_MEASURED_ROWS = 128


@dataclasses.dataclass
class Assignment:
    """What a pass found.

    Attributes:
      labels: [N] int32, the nearest centroid of every row; ties: the lower number.
      squares: [N] float32, the squared distance to it, computed as a sum of squared differences.
      sums: [K, D] float64, sums of the rows by label.
      counts: [K] int64, rows by label.
      changed: [c] int64, the clusters whose sums or counts may differ from those of the pass before.
      distances: how many distances between a row and a centroid were computed.
      bytes_read: from the source; 0 if the rows were in memory.
    """

    labels: np.ndarray
    squares: np.ndarray
    sums: np.ndarray
    counts: np.ndarray
    changed: np.ndarray
    distances: int
    bytes_read: int


@dataclasses.dataclass
class Begun:
    """What a pass found before it was interrupted.

    Attributes:
      before: [n] int32, the labels of its first rows in the pass before.
      squares: [n] float32, as in `Assignment`.
    """

    before: np.ndarray
    squares: np.ndarray

    @classmethod
    def nothing(cls) -> "Begun":
        """Returns that no row is done."""
        return cls(np.zeros(0, np.int32), np.zeros(0, np.float32))

    def changed(self, labels: np.ndarray) -> np.ndarray:
        """Returns the clusters that lost or won a row, [c]; labels: [N] int32 of this pass."""
        moved = self.before != labels[: len(self.before)]
        return np.setdiff1d(np.union1d(self.before[moved], labels[: len(self.before)][moved]), [-1])


class PlainAssignment:
    """Computes every distance: float32, |x|^2 - 2 x.c + |c|^2 of rows shifted by a common vector."""

    def __init__(self, reader, labels, sums):
        """Args: reader: ChunkReader; labels: [N] int32, -1: none yet; sums: [K, D] float64 of these labels."""
        self._reader, self._labels, self._sums = reader, labels, sums.copy()

    def step(self, centroids: np.ndarray, begun=None, on_rows=lambda done, labels, squares, sums: None) -> Assignment:
        """Args: centroids: [K, D] float32; begun: `Begun`; on_rows: see the module."""
        begun = begun or Begun.nothing()
        changed, first = [begun.changed(self._labels)], len(begun.squares)
        labels, squares = self._labels.copy(), np.empty(len(self._labels), np.float32)
        squares[:first] = begun.squares

        def follow(start, rows):
            own = slice(start, start + len(rows))
            changed.append(distances.move_rows(self._sums, rows, self._labels[own], labels[own]))
            on_rows(own.stop, labels, squares, self._sums)

        _nearest_from(first, self._reader, centroids, labels, squares, follow)
        self._labels = labels
        counts = np.bincount(self._labels, minlength=len(centroids))
        computed = (len(squares) - first) * len(centroids)
        return Assignment(self._labels, squares, self._sums, counts, np.unique(np.concatenate(changed)), computed, self._reader.bytes_read)


def chunk_rows(dim: int, num_clusters: int) -> int:
    """Returns how many rows are worked on together: their scores, and the rows in float32 and float64, take about 256 MB."""
    return int(np.clip(_CHUNK_BYTES // (4 * num_clusters + 20 * dim), 16, _MAX_CHUNK_ROWS))


def nearest(reader, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One pass over the rows that computes every distance.

    Args:
      reader: ChunkReader.
      centroids: [K, D] float32.

    Returns:
      labels [N] int32, squared distances [N] float32.

    Raises:
      InputError, CorruptArtifactError: a row is not finite, or a pass gives more or fewer rows than there are.
    """
    count = reader.source.num_examples
    labels, squares = np.empty(count, np.int32), np.empty(count, np.float32)
    _nearest_from(0, reader, centroids, labels, squares)
    return labels, squares


def _nearest_from(first, reader, centroids, labels, squares, on_chunk=lambda start, rows: None):
    """Writes labels and squares of the rows from `first` on; on_chunk is called with the position of the first row and the rows [n, D]."""
    count, dim = reader.source.num_examples, reader.source.dim
    shift = centroids.mean(axis=0, dtype=np.float64).astype(np.float32)
    shifted, norms = distances.shift_centroids(centroids, shift)
    shifted = distances.Gathered(len(centroids), dim).take(shifted, np.arange(len(centroids)))
    copies, end = distances.Gathered(_BLOCK_ROWS, dim), first
    threads = measuring_threads(dim, reader.check_stop)
    for start, chunk in reader.from_row(first):
        end = start + len(chunk)
        if end > count:
            break
        for at in range(0, len(chunk), _BLOCK_ROWS):
            index = np.arange(at, min(at + _BLOCK_ROWS, len(chunk)))
            threads.run(functools.partial(_shift, copies, chunk, shift, at), parts(index, _MEASURED_ROWS))
            scores = distances.product(copies.first(len(index)), shifted)
            scores += norms
            labels[start + index] = scores.argmin(axis=1)
        measure(chunk, centroids, labels[start:end], squares[start:end], threads)
        check_finite(reader, squares, start, end)
        on_chunk(start, chunk)
    if end != count:
        raise InputError(f"features: a pass gave {end} rows or more instead of {count}; every pass must give the same rows")


def _shift(copies, rows, shift, start, part):
    """Puts the rows [n, D] at `part`, less the shift, where they belong among the copies of those from `start` on."""
    copies.take(rows, part, at=part[0] - start)[...] -= shift


def measuring_threads(dim: int, check_stop=lambda: None) -> BlockThreads:
    """Returns what `measure` works with for rows of D numbers."""
    return BlockThreads(_MEASURED_ROWS, _MEASURED_ROWS, dim, check_stop)


def measure(rows, centroids, labels, squares, threads):
    """Writes the squared distances of the rows [n, D] to the centroids of their labels [n] into squares [n] float32."""

    def measure_part(part):
        difference = threads.rows.take(rows, part)
        difference -= threads.centroids.take(centroids, labels[part])
        squares[part] = distances.square_norms(difference)

    threads.run(measure_part, parts(np.arange(len(rows)), _MEASURED_ROWS))


def check_finite(reader, squares: np.ndarray, start: int, end: int):
    """Raises the source's error for the first row of [start, end) whose squared distance is not finite."""
    finite = np.isfinite(squares[start:end])
    if not finite.all():
        raise reader.source.not_finite(start + int(np.argmin(finite)))

"""One pass of Lloyd's k-means: the rows go to their nearest centroids. The contract of the ways to
do it, and the plain one.

A pass is an object made for one fit, `NAME(reader, labels, sums)`, with `step(centroids, begun,
on_rows) -> Assignment`; labels and sums are those of the pass before (of a checkpoint, or -1 and
nothing), and everything else it keeps between steps must not change what a step returns. An
interrupted pass is continued after the rows that were done: labels and sums are theirs, `begun` is
the rest there is to know of them. `on_rows(done, labels, squares, sums)` is called when the rows
before `done` are done.
"""

import dataclasses
import functools
import itertools

import numpy as np

from ccssl_tf.clustering import distances
from ccssl_tf.clustering.block_threads import BlockThreads, parts
from ccssl_tf.runs import machine
from ccssl_tf.runs.errors import InputError

# A block's rows, and its scores: large enough for a thread's matrix product to be fast.
_BLOCK_BYTES = 40 << 20
_MAX_BLOCK_ROWS = 2048
_THREADS = 8
# Matrix products are computed in tiles of so many rows; what is over costs as much.
_TILE_ROWS = 16
# What a pass holds besides the rows that are kept, a core: of chunks being read, waiting and worked
# on a block each; its copy and scores.
WORK_BYTES_A_CORE = 8 * _BLOCK_BYTES
# Most of |c|^2 over |c - shift|^2, in the median, for which rows are not shifted: it costs less
# than a digit.
_NEAR = 25
_SAMPLED_CENTROIDS = 64
# Rows of which what is computed one by one stays in the processor's cache.
_MEASURED_ROWS = 128


@dataclasses.dataclass
class Assignment:
    """What a pass found.

    Attributes:
      labels: [N] int32, the nearest centroid of every row; ties: the lower number.
      squares: [N] float32, the squared distance to it, computed as a sum of squared differences.
      sums: [K, D] float64, sums of the rows by label.
      counts: [K] int64, rows by label.
      changed: [c] int64, the clusters whose sums or counts may differ from those of the pass
        before.
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
    """Computes every distance as x.c - |c|^2 / 2, float32, of rows and centroids shifted by a
    common vector: the nearest has the most.
    """

    def __init__(self, reader, labels, sums):
        """Args: reader: ChunkReader; labels: [N] int32, -1: none yet; sums: [K, D] float64 of these
        labels.
        """
        self._reader, self._labels, self._sums = reader, labels, sums.copy()
        # Those of the pass before: no centroid equals NaN, so the first pass measures all rows.
        self._centroids, self._squares = np.nan, np.empty(len(labels), np.float32)
        self._threads = measuring_threads(
            reader.source.dim, len(sums), reader.source.num_examples, reader.check_stop
        )

    def step(
        self, centroids: np.ndarray, begun=None, on_rows=lambda done, labels, squares, sums: None
    ) -> Assignment:
        """Args: centroids: [K, D] float32, not changed afterwards; begun: `Begun`; on_rows: see the
        module.
        """
        begun = begun or Begun.nothing()
        changed, first = [begun.changed(self._labels)], len(begun.squares)
        labels, squares = self._labels.copy(), self._squares.copy()
        squares[:first] = begun.squares

        def follow(own, rows):
            changed.append(distances.move_rows(self._sums, rows, self._labels[own], labels[own]))
            on_rows(own.stop, labels, squares, self._sums)

        has_moved = (centroids != self._centroids).any(axis=1)
        _nearest_from(
            first, self._reader, centroids, labels, squares, has_moved, self._threads, follow
        )
        self._labels, self._squares, self._centroids = labels, squares, centroids
        counts = np.bincount(self._labels, minlength=len(centroids))
        computed = (len(squares) - first) * len(centroids)
        return Assignment(
            self._labels,
            squares,
            self._sums,
            counts,
            np.unique(np.concatenate(changed)),
            computed,
            self._reader.bytes_read,
        )


def _shift_of(centroids):
    """Returns about their mean [D] float32, or zeros where they lie round the origin, and shifting
    rows would cost more than it gives.
    """
    some = centroids[:: max(len(centroids) // _SAMPLED_CENTROIDS, 1)]
    shift = some.mean(axis=0, dtype=np.float64).astype(np.float32)
    of_some, of_shifted = (
        np.median(distances.square_norms(vectors)) for vectors in (some, some - shift)
    )
    return np.zeros_like(shift) if of_some <= _NEAR * of_shifted else shift


def block_rows(num_examples: int, dim: int, num_clusters: int) -> int:
    """Returns how many of N rows a thread works on together.

    There are as many blocks for each of several threads, and other cores have the same blocks: they
    decide how scores are rounded.
    """
    most = int(np.clip(_BLOCK_BYTES // (4 * max(dim, num_clusters)), 1, _MAX_BLOCK_ROWS))
    rounds = -(-num_examples // (_THREADS * most))
    rows = -(-num_examples // (_THREADS * rounds))
    return rows if rows < _TILE_ROWS else -(-rows // _TILE_ROWS) * _TILE_ROWS


def chunk_rows(num_examples: int, dim: int, num_clusters: int) -> int:
    """Returns how many rows are read together: a block for every core."""
    return machine.num_cores() * block_rows(num_examples, dim, num_clusters)


def nearest(
    reader, centroids: np.ndarray, num_examples: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """One pass over the rows that computes every distance.

    Args:
      reader: ChunkReader.
      centroids: [K, D] float32.
      num_examples: of a larger set whose blocks are to be used.

    Returns:
      labels [N] int32, squared distances [N] float32.

    Raises:
      InputError, CorruptArtifactError: a row is not finite, or a pass gives more or fewer rows than
        there are.
    """
    count = reader.source.num_examples
    labels, squares = np.empty(count, np.int32), np.empty(count, np.float32)
    threads = measuring_threads(
        reader.source.dim, len(centroids), num_examples or count, reader.check_stop
    )
    _nearest_from(0, reader, centroids, labels, squares, np.ones(len(centroids), bool), threads)
    return labels, squares


def _nearest_from(
    first, reader, centroids, labels, squares, has_moved, threads, on_chunk=lambda own, rows: None
):
    """Writes labels and squares of the rows from `first` on; on_chunk is called with positions
    (slice) and rows [n, D].

    Squares are right already where a row keeps its label and the centroid of that has not moved,
    [K] bool.
    """
    count = reader.source.num_examples
    shift = _shift_of(centroids)
    needs_shift = shift.any()
    shifted = centroids - shift if needs_shift else centroids
    norms = distances.square_norms(shifted)
    # Scores of equal centroids may be rounded differently; only the first is anybody's nearest.
    norms[~distances.is_first_of_equals(shifted, norms)] = np.inf
    half_norms = norms / 2

    def assign(rows, labels, squares, block):
        rows, labels, squares = rows[block], labels[block], squares[block]
        memory = threads.memory.block.first(len(rows))
        taken = rows if rows.dtype == np.float32 else distances.as_float32(rows, memory)
        if needs_shift:
            taken = np.subtract(taken, shift, out=memory)
        else:
            rows = taken  # Not converted again where their distances are measured.
        scores = taken @ shifted.T
        scores -= half_norms
        found = scores.argmax(axis=1)
        is_due = has_moved[found] | (found != labels)
        labels[:] = found
        measure(rows, centroids, labels, squares, threads, np.flatnonzero(is_due))

    def started():
        end = first
        for start, chunk in reader.from_row(first):
            end = start + len(chunk)
            if end > count:
                break
            own = slice(start, end)
            assign_chunk = functools.partial(assign, chunk, labels[own], squares[own])
            yield (
                own,
                chunk,
                threads.start(assign_chunk, blocks(len(chunk), threads.num_rows["block"])),
            )
        if end != count:
            raise InputError(
                f"features: a pass gave {end} rows or more instead of {count}; every pass must "
                "give the same rows"
            )

    with threads.one_product_each():
        # Of two chunks at a time: where one ends, no thread waits for the others.
        for (own, chunk, finish), _ in itertools.pairwise(itertools.chain(started(), [None])):
            finish()
            check_finite(reader, squares, own.start, own.stop)
            on_chunk(own, chunk)


def blocks(num_rows: int, size: int) -> list[tuple]:
    """Returns slices of `size` rows, the last one smaller, each in a tuple."""
    return [(slice(at, min(at + size, num_rows)),) for at in range(0, num_rows, size)]


def measuring_threads(
    dim: int, num_clusters: int, num_examples: int, check_stop=lambda: None
) -> BlockThreads:
    """Returns the threads that a pass over N rows, and `measure`, work in."""
    most = block_rows(num_examples, dim, num_clusters)
    return BlockThreads(dim, check_stop, block=most, rows=_MEASURED_ROWS, centroids=_MEASURED_ROWS)


def measure(rows, centroids, labels, squares, threads, numbers):
    """Writes the squared distances of the rows [W, D] at `numbers` [n] to the centroids of their
    labels [W] into squares [W] float32.
    """
    for (some,) in parts(numbers, _MEASURED_ROWS):
        difference = threads.memory.rows.take(rows, some)
        difference -= threads.memory.centroids.take(centroids, labels[some])
        squares[some] = distances.square_norms(difference)


def check_finite(reader, squares: np.ndarray, start: int, end: int):
    """Raises the source's error for the first row of [start, end) whose squared distance is not
    finite.
    """
    finite = np.isfinite(squares[start:end])
    if not finite.all():
        raise reader.source.not_finite(start + int(np.argmin(finite)))

"""One pass of Lloyd's k-means: the rows go to their nearest centroids. Contract, and the plain way.

`Assignment` is what every way to do a pass has in common. `PlainAssignment` computes all distances,
as does `nearest`, a pass without sums; `accelerated.AcceleratedAssignment` skips some; those of
`distributed` share the work among devices or processes.
"""

import abc
import dataclasses
import functools
from collections.abc import Callable, Iterator

import numpy as np

from ccssl_tf.clustering import distances
from ccssl_tf.clustering.block_sizes import block_rows
from ccssl_tf.clustering.block_threads import BlockThreads, blocks
from ccssl_tf.clustering.chunk_reader import ChunkReader
from ccssl_tf.clustering.cluster_sums import move_rows
from ccssl_tf.clustering.measuring import check_finite, measure, measuring_threads
from ccssl_tf.clustering.row_copies import as_float32
from ccssl_tf.runs import machine

# Rows are not shifted where the median of |c|^2 is at most so many times the median of
# |c - shift|^2: products then lose less than one decimal digit, and shifting takes time.
_MAX_NORM_RATIO = 25
# Number of centroids of which these medians, and the shift, are taken.
_SAMPLED_CENTROIDS = 64


@dataclasses.dataclass
class PassResult:
    """What a pass computed.

    Attributes:
      labels: [N] int32, the nearest centroid of every row; ties: the lower number.
      squares: [N] float32, the squared distance to it, computed as a sum of squared differences.
      sums: [K, D] float64, sums of the rows by label.
      counts: [K] int64, numbers of rows by label.
      changed: [c] int64, the clusters whose sums or counts may differ from those of the pass
        before.
      distances: int, number of distances between a row and a centroid that were computed.
      bytes_read: int, bytes read from the source; 0 if the rows were in memory.
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
    """What a pass had computed of its first n rows when it was interrupted, beside their labels.

    Attributes:
      before: [n] int32, their labels in the pass before.
      squares: [n] float32, as in `PassResult`.
    """

    before: np.ndarray
    squares: np.ndarray

    @classmethod
    def nothing(cls) -> "Begun":
        """Returns the beginning of a pass: no row is done."""
        return cls(np.zeros(0, np.int32), np.zeros(0, np.float32))

    def changed(self, labels: np.ndarray) -> np.ndarray:
        """Returns the clusters that lost or won one of the n rows, [c] int, ascending.

        Args:
          labels: [N] int32 of the interrupted pass.
        """
        now = labels[: len(self.before)]
        moved = self.before != now
        return np.setdiff1d(np.union1d(self.before[moved], now[moved]), [-1])


# Called as on_rows(done, labels, squares, sums) when the rows before number `done` are assigned:
# [N] int32, [N] float32 and [K, D] float64 as in `PassResult`. Until the next call the labels and
# squares of these rows, and the sums, stay as they are.
OnRows = Callable[[int, np.ndarray, np.ndarray, np.ndarray], None]


class Assignment(abc.ABC):
    """A way to assign the rows of one fit to their nearest centroids, pass after pass.

    It is made from a reader of the rows, labels and sums (see `MakeAssignment`): those of the pass
    before, as a checkpoint holds them, or -1 and zeros. Whatever else an object keeps from pass to
    pass must not change what `step` returns, so that a fit that is continued by a new object ends
    with the same bits.
    """

    @abc.abstractmethod
    def step(
        self, centroids: np.ndarray, begun: Begun | None = None, on_rows: OnRows | None = None
    ) -> PassResult:
        """Makes one pass.

        Args:
          centroids: [K, D] float32; the caller does not change them afterwards.
          begun: of an interrupted pass, which goes on after its first n rows: the labels and sums
            given to the constructor include these rows. None: the pass starts at the first row.
          on_rows: called after every part of the rows.

        Raises:
          InputError, CorruptArtifactError: a row is not finite, or the source does not give as
            many rows as it has.
        """


# Called as make(reader, labels, sums): a ChunkReader of all rows, [N] int32 (-1: no label yet) and
# [K, D] float64, the sums of the rows by these labels. Labels and sums are not changed.
MakeAssignment = Callable[[ChunkReader, np.ndarray, np.ndarray], Assignment]


class PlainAssignment(Assignment):
    """Computes every distance, as a matrix product of rows and centroids: `nearest_scores`."""

    def __init__(self, reader: ChunkReader, labels: np.ndarray, sums: np.ndarray):
        """See `MakeAssignment`."""
        self._reader, self._labels, self._sums = reader, labels, sums.copy()
        # The centroids and squares of the pass before. No centroid equals NaN, so the first pass
        # measures all rows.
        self._centroids = np.full(sums.shape, np.nan, np.float32)
        self._squares = np.empty(len(labels), np.float32)
        self._threads = measuring_threads(
            reader.source.dim, len(sums), reader.source.num_examples, reader.check_stop
        )

    def step(
        self, centroids: np.ndarray, begun: Begun | None = None, on_rows: OnRows | None = None
    ) -> PassResult:
        """See `Assignment`."""
        begun = begun or Begun.nothing()
        changed, first = [begun.changed(self._labels)], len(begun.squares)
        labels, squares = self._labels.copy(), self._squares.copy()
        squares[:first] = begun.squares

        def follow(part: slice, rows: np.ndarray) -> None:
            changed.append(move_rows(self._sums, rows, self._labels[part], labels[part]))
            if on_rows:
                on_rows(part.stop, labels, squares, self._sums)

        has_moved = (centroids != self._centroids).any(axis=1)
        _assign_from(
            first, self._reader, centroids, labels, squares, has_moved, self._threads, follow
        )
        self._labels, self._squares, self._centroids = labels, squares, centroids
        return PassResult(
            labels=labels,
            squares=squares,
            sums=self._sums,
            counts=np.bincount(labels, minlength=len(centroids)),
            changed=np.unique(np.concatenate(changed)),
            distances=(len(squares) - first) * len(centroids),
            bytes_read=self._reader.bytes_read,
        )


def chunk_rows(num_examples: int, dim: int, num_clusters: int) -> int:
    """Returns how many rows a reader of N rows reads together: a block for every core."""
    return machine.num_cores() * block_rows(num_examples, dim, num_clusters)


def nearest(
    reader: ChunkReader, centroids: np.ndarray, num_examples: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Makes one pass over the rows that computes every distance.

    Args:
      reader: of the rows.
      centroids: [K, D] float32.
      num_examples: number of rows that decides about the size of blocks; None: that of the reader.

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
    _assign_from(0, reader, centroids, labels, squares, np.ones(len(centroids), bool), threads)
    return labels, squares


def _shift_of(centroids: np.ndarray) -> np.ndarray:
    """Returns the mean of some centroids [D] float32, or zeros where a shift does not pay."""
    some = centroids[:: max(len(centroids) // _SAMPLED_CENTROIDS, 1)]
    shift = distances.common_shift(some)
    norm, shifted_norm = (
        np.median(distances.square_norms(vectors)) for vectors in (some, some - shift)
    )
    return np.zeros_like(shift) if norm <= _MAX_NORM_RATIO * shifted_norm else shift


def _assign_from(
    first: int,
    reader: ChunkReader,
    centroids: np.ndarray,
    labels: np.ndarray,
    squares: np.ndarray,
    has_moved: np.ndarray,
    threads: BlockThreads,
    on_chunk: Callable[[slice, np.ndarray], None] | None = None,
) -> None:
    """Writes labels and squares of the rows from number `first` on.

    Args:
      first: position.
      reader: of the rows.
      centroids: [K, D] float32.
      labels: [N] int32.
      squares: [N] float32. They are right already for rows that keep their label, if the centroid
        of that has not moved.
      has_moved: [K] bool, whether each centroid has.
      threads: `measuring_threads`.
      on_chunk: called with positions and rows [n, D] when they are done.
    """
    count = reader.source.num_examples
    shift = _shift_of(centroids)
    needs_shift = shift.any()
    shifted = centroids - shift if needs_shift else centroids
    norms = distances.square_norms(shifted)
    # Products may round the scores of equal centroids differently; so only the first of them can
    # be the nearest.
    norms[~distances.is_first_of_equals(shifted, norms)] = np.inf
    half_norms = norms / 2

    def assign(rows: np.ndarray, labels: np.ndarray, squares: np.ndarray, block: slice) -> None:
        rows, labels, squares = rows[block], labels[block], squares[block]
        memory = threads.memory.block.first(len(rows))
        factor = rows if rows.dtype == np.float32 else as_float32(rows, memory)
        if needs_shift:
            factor = np.subtract(factor, shift, out=memory)
        else:
            rows = factor  # So that `measure` need not convert them again.
        nearest = distances.nearest_scores(factor, shifted, half_norms).argmax(axis=1)
        is_due = has_moved[nearest] | (nearest != labels)
        labels[:] = nearest
        measure(rows, centroids, labels, squares, threads, np.flatnonzero(is_due))

    def started() -> Iterator[tuple[slice, np.ndarray, Callable[[], list]]]:
        """Yields positions, rows, and a function that waits until the rows are assigned."""
        end = first
        for start, chunk in reader.from_row(first):
            end = start + len(chunk)
            if end > count:
                break
            part = slice(start, end)
            assign_block = functools.partial(assign, chunk, labels[part], squares[part])
            wait = threads.start(assign_block, blocks(len(chunk), threads.num_rows["block"]))
            yield part, chunk, wait
        if end != count:
            raise reader.source.other_count(end)

    def finish(part: slice, chunk: np.ndarray, wait: Callable[[], list]) -> None:
        wait()
        check_finite(reader.source, squares[part], part.start)
        if on_chunk:
            on_chunk(part, chunk)

    with threads.one_product_each():
        # A chunk is begun before the one before it is finished, so that no thread waits for the
        # last block of a chunk.
        before = None
        for begun in started():
            if before:
                finish(*before)
            before = begun
        if before:
            finish(*before)

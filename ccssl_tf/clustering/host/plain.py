"""Passes that compute every distance, as matrix products of rows and centroids."""

import functools
from collections.abc import Callable, Iterator

import numpy as np

from ccssl_tf.clustering.assignment import Assignment, Begun, OnRows, PassResult
from ccssl_tf.clustering.host import distances
from ccssl_tf.clustering.host.block_threads import BlockThreads, blocks
from ccssl_tf.clustering.host.cluster_sums import move_rows
from ccssl_tf.clustering.host.measuring import check_finite, measure, measuring_threads
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader
from ccssl_tf.clustering.rows.row_copies import as_float32


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
        begun, source = begun or Begun.nothing(), self._reader.source
        changed, first = [begun.changed(self._labels)], len(begun.squares)
        labels, squares = self._labels.copy(), self._squares.copy()
        squares[:first] = begun.squares

        def follow(part: slice, rows: np.ndarray) -> None:
            weights = source.weights_of(part)
            changed.append(move_rows(self._sums, rows, self._labels[part], labels[part], weights))
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
            counts=np.bincount(labels, source.weights, minlength=len(centroids)),
            changed=np.unique(np.concatenate(changed)),
            distances=(len(squares) - first) * len(centroids),
            bytes_read=self._reader.bytes_read,
        )


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
    shift = distances.needed_shift(centroids)
    needs_shift = shift.any()
    shifted = centroids - shift if needs_shift else centroids
    norms = distances.square_norms(shifted)
    # Products may round the scores of equal centroids differently; so only the first of them can
    # be the nearest.
    norms[~distances.is_first_of_equals(shifted, norms)] = np.inf
    # Scores are off by g (|x|^2 + |c|^2) / 2, so with norms smaller by twice that share they are
    # upper bounds.
    rounding = distances.probable_rounding(centroids.shape[1])
    half_norms = norms * np.float32((1 - 2 * rounding) / 2)

    def assign(rows: np.ndarray, labels: np.ndarray, squares: np.ndarray, block: slice) -> None:
        rows, labels, squares = rows[block], labels[block], squares[block]
        memory = threads.memory.block.first(len(rows))
        factor = rows if rows.dtype == np.float32 else as_float32(rows, memory)
        if needs_shift:
            factor = np.subtract(factor, shift, out=memory)
        else:
            rows = factor  # So that `measure` need not convert them again.
        scores = distances.nearest_scores(factor, shifted, half_norms)
        nearest = scores.argmax(axis=1)
        each = np.arange(len(scores))
        # What the score of the nearest centroid is at least.
        highest = scores[each, nearest]
        limits = highest - np.float32(2 * rounding) * (
            distances.square_norms(factor) + norms[nearest]
        )
        scores[each, nearest] = -np.inf
        unclear = np.flatnonzero(scores.max(axis=1) >= limits)
        if len(unclear):
            scores[each, nearest] = highest
            nearest[unclear] = distances.decide(
                rows[unclear], centroids, scores[unclear] >= limits[unclear, None]
            )
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

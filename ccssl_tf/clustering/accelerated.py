"""Lloyd's passes that compute only the distances that can matter (exact: Elkan 2003; Ding and others 2015, "Yinyang").

Rows are taken in the order of their clusters, similar clusters side by side, in blocks of 128. `GapBounds` says, for every 16 rows, which
centroids one of them might go to; a block computes the distances to those that any of its rows might go to, one matrix product. Where the
bounds are too weak for that, as at the start, `screening` makes new ones of all distances in few dimensions. What
the products leave open within their rounding is decided in float64, so the labels are those of exact arithmetic (ties: the lower number),
whatever was skipped: they depend on rows and centroids alone, and a resumed fit needs no bounds. The sums change by the rows that moved.
Blocks are worked on in as many threads as there are cores; they share nothing that they write.
"""

import functools
import hashlib

import numpy as np

from ccssl_tf.clustering import distances, screening, windows
from ccssl_tf.clustering.assignment import Assignment, check_finite
from ccssl_tf.clustering.block_threads import BlockThreads, parts
from ccssl_tf.clustering.centroid_order import neighbour_ranks
from ccssl_tf.clustering.gap_bounds import ROWS, GapBounds

_BLOCK_ROWS = 128
_FULL_BLOCK_ROWS = 1024
_MEASURED_ROWS = 128
_SCORE_BYTES = 256 << 20
# A pass that must compute this share of all distances computes all of them, and sorts the rows anew.
_FULL_SHARE = 0.5
# From this share on, new bounds cost less than what they save.
_SCREENED_SHARE = 0.3
# Of the memory, for rows in few dimensions; else they are made whenever they are needed.
_REDUCED_SHARE = 4


class AcceleratedAssignment:
    """See the module; the contract is that of `assignment`.

    Memory beside the rows: K / 4 + 20 bytes a row, the sums, 256 MB, and a copy of the centroids for each core.
    """

    def __init__(self, reader, labels, sums):
        """Sets up a fit.

        Args:
          reader: ChunkReader: its source is read in windows, within its memory.
          labels: [N] int32, -1: none yet.
          sums: [K, D] float64 of these labels.
        """
        count = reader.source.num_examples
        self._reader, self._labels, self._sums = reader, labels.copy(), sums.copy()
        self._squares = np.full(count, np.inf, np.float32)
        # An upper bound of the distance to the own centroid; the gaps are relative to it.
        self._reach = np.full(count, np.inf, np.float32)
        self._row_norms = np.full(count, np.nan, np.float32)
        self._rounding = distances.rounding(reader.source.dim)
        self._shift = self._centroids = None
        self._moved = np.zeros(len(sums))
        self._threads = BlockThreads(_FULL_BLOCK_ROWS, len(sums), reader.source.dim, reader.check_stop)
        directions = screening.num_directions(reader.source.dim)
        self._can_screen, self._reduction = bool(directions), None
        self._keep_reduced = reader.source.in_memory or 4 * count * (directions + 1) <= reader.memory_bytes // _REDUCED_SHARE
        self._rows = windows.Windows(reader.source, reader.memory_bytes, reader.check_stop)
        self._windows = {}

    def step(self, centroids: np.ndarray) -> Assignment:
        """Args: centroids: [K, D] float32."""
        self._set_centroids(centroids)
        self._computed, self._changed = 0, np.zeros(len(centroids), bool)
        with self._threads.one_product_each():
            for start, rows in self._rows:
                self._assign_window(self._windows.setdefault(start, _Window(start, len(rows))), rows)
                check_finite(self._reader, self._squares, start, start + len(rows))
        counts = np.bincount(self._labels, minlength=len(centroids))
        return Assignment(
            self._labels.copy(),
            self._squares.copy(),
            self._sums,
            counts,
            np.flatnonzero(self._changed),
            self._computed,
            self._rows.bytes_read,
        )

    def _set_centroids(self, centroids):
        """Follows the centroids that changed; the others keep what was computed of them."""
        if self._centroids is None:
            self._shift = centroids.mean(axis=0, dtype=np.float64).astype(np.float32)
            changed = np.arange(len(centroids))
            self._drift = np.full(len(centroids), np.inf)
            self._centroids, self._shifted = np.empty_like(centroids), np.empty_like(centroids)
            self._column_norms, self._contents = np.empty(len(centroids), np.float32), [b""] * len(centroids)
        else:
            changed = np.flatnonzero((centroids != self._centroids).any(axis=1))
            change = centroids[changed].astype(np.float64) - self._centroids[changed]
            self._drift = np.zeros(len(centroids))
            self._drift[changed] = np.sqrt(np.einsum("ij,ij->i", change, change)) * (1 + 1e-9)
            self._moved += self._drift
        self._centroids[changed] = centroids[changed]
        self._shifted[changed], self._column_norms[changed] = distances.shift_centroids(centroids[changed], self._shift)
        for number in changed:
            self._contents[number] = hashlib.sha1(centroids[number]).digest()
        # Of equal centroids only the first can be anybody's nearest.
        self._columns = np.sort(np.unique(self._contents, return_index=True)[1])
        self._is_column = np.isin(np.arange(len(centroids)), self._columns)
        self._ranks = self._reduced_centroids = None

    def _assign_window(self, window, rows):
        own = slice(window.start, window.start + window.size)
        if np.isnan(self._row_norms[own]).any():

            def measure(local):
                self._row_norms[window.start + local] = distances.square_norms(self._take_shifted(rows, local))

            self._threads.run(measure, parts(np.arange(window.size), _MEASURED_ROWS))
            check_finite(self._reader, self._row_norms, window.start, window.start + window.size)
        before = self._labels[own].copy()
        self._follow_own_centroids(window, rows)
        every = window.size * len(self._centroids)
        blocks, needed = self._open_blocks(window)
        if self._can_screen and needed > _SCREENED_SHARE * every:
            self._screen(window, rows)
            blocks, needed = self._open_blocks(window)
            # Rows without a common direction, which no projection tells apart, are not tried again.
            self._can_screen = needed < _FULL_SHARE * every
        if needed < _FULL_SHARE * every:
            self._computed += needed
            self._threads.run(functools.partial(self._assign_open, window, rows), blocks)
        else:
            self._assign_all(window, rows)
        self._changed[distances.move_rows(self._sums, rows, before, self._labels[own])] = True

    def _assign_open(self, window, rows, local, granules, columns):
        every = len(columns) == len(self._shifted)
        shifted = self._shifted if every else self._threads.centroids.take(self._shifted, columns)
        lower, left = self._assign_block(window, rows, local, columns, shifted)
        self._store(window, local, granules, columns, lower, left)

    def _follow_own_centroids(self, window, rows):
        """Computes the distance to the own centroid again where that has moved."""
        ids = window.start + window.order
        has_moved = np.append(self._drift > 0, False)[self._labels[ids]]
        local = window.order[has_moved]
        if not len(local):
            return
        before = self._reach[ids]
        self._threads.run(functools.partial(self._measure, window, rows), parts(local, _MEASURED_ROWS))
        if window.bounds:
            window.bounds.grow(self._reach[ids].astype(np.float64) - before)

    def _measure(self, window, rows, local):
        """Computes squares and reach of rows from their labels."""
        for (part,) in parts(local, _MEASURED_ROWS):
            ids = window.start + part
            difference = self._threads.rows.take(rows, part)
            difference -= self._centroids[self._labels[ids]]
            self._squares[ids] = distances.square_norms(difference)
            self._reach[ids] = np.sqrt(self._upper(self._squares[ids]))

    def _take_shifted(self, rows, local):
        taken = self._threads.rows.take(rows, local)
        taken -= self._shift
        return taken

    def _upper(self, squares):
        return squares * np.float32(1 + self._rounding)

    def _open_blocks(self, window):
        """Returns the blocks that have something to compute (positions of rows, granules, centroids), and how many distances that is."""
        if window.bounds is None:
            return [], window.size * len(self._centroids)
        blocks, per_block = [], _BLOCK_ROWS // ROWS
        count = -(-window.size // ROWS)
        for first in range(0, count, per_block):
            last = min(first + per_block, count)
            pairs = window.bounds.open_pairs(first, last, self._moved) & self._is_column
            columns = np.flatnonzero(pairs.any(axis=0))
            if len(columns):
                granules = first + np.flatnonzero(pairs.any(axis=1))
                places = (granules[:, None] * ROWS + np.arange(ROWS)).ravel()
                blocks.append((window.order[places[places < window.size]], granules, columns))
        return blocks, sum(len(local) * len(columns) for local, _, columns in blocks)

    def _screen(self, window, rows):
        """Makes new bounds, from few dimensions; rows that have no label yet get that of the centroid that looks nearest there."""
        if self._reduction is None:
            directions = screening.num_directions(rows.shape[1])
            sample = screening.Reduction.sample(window.size, directions)
            with self._threads.one_product_at_a_time():
                self._reduction = screening.Reduction(rows[sample].astype(np.float32) - self._shift, directions)
        if self._reduced_centroids is None:
            self._reduced_centroids = screening.ReducedCentroids(*self._reduction.reduce(-0.5 * self._shifted[self._columns]))
        reduced, slack = window.reduced or self._reduce(window, rows)
        if self._keep_reduced:
            window.reduced = reduced, slack
        everything = parts(np.arange(window.size), _BLOCK_ROWS)
        if self._labels[window.start] < 0:

            def guess(local):
                lower = self._reduced_centroids.lower_bounds(reduced[local], slack[local])
                self._labels[window.start + local] = self._columns[lower.argmin(axis=1)]
                self._measure(window, rows, local)

            self._threads.run(guess, everything)
        self._sort(window)
        window.bounds = GapBounds(window.size, len(self._centroids))
        place = self._places(self._columns)

        def bound(places):
            local = window.order[places]
            ids = window.start + local
            lower = self._reduced_centroids.lower_bounds(reduced[local], slack[local])
            _put(lower, np.arange(len(local)), place[self._labels[ids]], np.inf)
            granules = np.arange(places[0] // ROWS, places[-1] // ROWS + 1)
            window.bounds.store(granules, self._columns, lower, self._reach[ids], self._moved)

        self._threads.run(bound, everything)
        self._computed += window.size * len(self._columns) * self._reduction.dim // rows.shape[1]

    def _reduce(self, window, rows):
        reduced, slack = np.empty([window.size, self._reduction.dim], np.float32), np.empty(window.size, np.float32)

        def reduce(local):
            reduced[local], slack[local] = self._reduction.reduce(self._take_shifted(rows, local))

        self._threads.run(reduce, parts(np.arange(window.size), _BLOCK_ROWS))
        return reduced, slack

    def _sort(self, window):
        """Puts rows with the same label, and those with similar centroids, side by side."""
        if self._ranks is None:
            self._ranks = neighbour_ranks(self._centroids)
        labels = self._labels[window.start + window.order]
        window.order = window.order[np.argsort(self._ranks[labels], kind="stable")]

    def _places(self, columns):
        """Returns [K + 1] int: where a centroid is in `columns`, -1 if it is not; also for the label -1."""
        place = np.full(len(self._centroids) + 1, -1)
        place[columns] = np.arange(len(columns))
        return place

    def _assign_all(self, window, rows):
        """Computes all distances; sorts the rows by their new labels."""
        # The centroids move so far after the first pass that no bound of it survives.
        is_first = self._labels[window.start] < 0
        self._sort(window)
        window.bounds = GapBounds(window.size, len(self._centroids))
        columns = self._columns
        shifted = self._threads.centroids.take(self._shifted, columns)
        self._computed += window.size * len(columns)
        step = max(_SCORE_BYTES // (4 * len(columns)) // ROWS, 1) * ROWS
        for at in range(0, window.size, step):
            local = window.order[at : at + step].copy()
            lower = np.empty([len(local), len(columns)], np.float32)

            def assign(part, local=local, lower=lower):
                lower[part], _ = self._assign_block(window, rows, local[part], columns, shifted)

            self._threads.run(assign, parts(np.arange(len(local)), _FULL_BLOCK_ROWS))
            sort = np.argsort(self._ranks[self._labels[window.start + local]], kind="stable")
            window.order[at : at + step] = local[sort]

            def store(places, at=at, local=local, lower=lower, sort=sort):
                granules = np.arange((at + places[0]) // ROWS, -(-(at + places[-1] + 1) // ROWS))
                self._store(window, local[sort[places]], granules, columns, lower[sort[places]], None)

            if not is_first:
                self._threads.run(store, parts(np.arange(len(local)), _BLOCK_ROWS))

    def _assign_block(self, window, rows, local, columns, shifted):
        """Assigns the rows at `local`, given that only `columns` and the own centroid can be the nearest.

        Returns:
          lower [n, c] float32: at most the squared distances; infinite to the own centroid. And of the rows that went elsewhere the place
          in `local`, the label they had and a lower bound of the distance to that.
        """
        ids = window.start + local
        norms, labels, squares = self._row_norms[ids], self._labels[ids], self._squares[ids]
        lower = self._take_shifted(rows, local) @ shifted.T
        lower += (norms * np.float32(1 - 2 * self._rounding))[:, None]
        lower += self._column_norms[columns] * np.float32(1 - 2 * self._rounding)
        place = self._places(columns)
        _put(lower, np.arange(len(local)), place[labels], np.inf)
        best = lower.argmin(axis=1)
        least, upper = lower[np.arange(len(local)), best], self._upper(squares)
        some = np.flatnonzero(least <= upper)
        best, limit = best[some], least[some] + (norms[some] + self._column_norms[columns[best[some]]]) * np.float32(4 * self._rounding)
        limit = np.minimum(limit, upper[some])
        near = lower[some] <= limit[:, None]
        own = (labels[some] >= 0) & (squares[some] * np.float32(1 - self._rounding) <= limit)
        found = columns[best].astype(np.int32)
        unclear = np.flatnonzero(near.sum(axis=1) + own > 1)
        if len(unclear):
            candidates = [np.append(columns[near[row]], labels[some[row]] if own[row] else []).astype(np.int64) for row in unclear]
            found[unclear] = self._decide(rows, local[some[unclear]], candidates)
        changed = found != labels[some]
        some, found = some[changed], found[changed]
        left = squares[some] * np.float32(1 - self._rounding)
        self._move(window, rows, local[some], found)
        _put(lower, np.arange(len(local)), place[self._labels[ids]], np.inf)
        _put(lower, some, place[labels[some]], left)
        return lower, (some, labels[some], np.sqrt(left))

    def _decide(self, rows, local, candidates):
        """Returns the nearest of each row's candidates (ascending: of equal ones the lowest), by distances in float64."""
        chosen = np.empty(len(local), np.int32)
        values = rows[local]
        for row, numbers in enumerate(candidates):
            numbers = np.sort(numbers)
            chosen[row] = numbers[np.argmin(distances.exact_squares(values[row : row + 1], self._centroids[numbers]))]
        return chosen

    def _move(self, window, rows, local, labels):
        """Gives the rows new labels; squares and reach follow."""
        if not len(local):
            return
        ids = window.start + local
        self._labels[ids] = labels
        before = self._reach[ids]
        self._measure(window, rows, local)
        # The row moved to a nearer centroid: what bounded the distance to the old one still does.
        self._reach[ids] = np.minimum(self._reach[ids], before)

    def _store(self, window, local, granules, columns, lower, left):
        reach = self._reach[window.start + local]
        np.sqrt(np.maximum(lower, 0, out=lower), out=lower)
        window.bounds.store(granules, columns, lower, reach, self._moved)
        if left is not None and len(left[0]):
            some, labels, distance = left
            places = (granules[:, None] * ROWS + np.arange(ROWS)).ravel()
            window.bounds.lower(places[some], labels, distance.astype(np.float64) - reach[some], self._moved)


class _Window:
    """Rows that are in memory together.

    Attributes:
      start: the first of them.
      order: [size] int32, positions in the window, sorted by cluster.
      bounds: GapBounds of the rows in that order; None before the first pass.
      reduced: the rows in few dimensions and their slack, where they are kept.
    """

    def __init__(self, start, size):
        self.start, self.size = start, size
        self.order, self.bounds, self.reduced = np.arange(size, dtype=np.int32), None, None


def _put(lower, rows, places, values):
    """Sets the entries lower[rows[i], places[i]] where places[i] is not -1."""
    there = places >= 0
    lower[rows[there], places[there]] = values[there] if np.ndim(values) else values

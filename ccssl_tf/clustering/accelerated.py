"""Lloyd's passes that compute only the distances that can matter (exact: Elkan 2003; Ding and
others 2015, "Yinyang").

Rows are taken in the order of their clusters, similar clusters side by side, in blocks of 256.
`GapBounds` says which centroids any of a few rows might go to; of these, `screening` in few
dimensions leaves the few that a row of the block might go to now, and one matrix product gives
those distances. What it leaves open within its rounding is decided in float64, so the labels are
those of exact arithmetic (ties: the lower number), whatever was skipped: they depend on rows and
centroids alone, and a resumed fit needs no bounds. The sums change by the rows that moved. Blocks
are worked on in as many threads as there are cores; they share nothing that they write.
"""

import functools

import numpy as np

from ccssl_tf.clustering import distances, screening, windows
from ccssl_tf.clustering.assignment import Assignment, Begun, check_finite, measure
from ccssl_tf.clustering.block_threads import BlockThreads, parts
from ccssl_tf.clustering.centroid_facts import CentroidFacts
from ccssl_tf.clustering.gap_bounds import GapBounds, granule_rows
from ccssl_tf.runs import machine

_BLOCK_ROWS = 256
# Where the bounds leave this share of the pairs open, the rows are sorted anew and all pairs are
# screened.
_SORTED_SHARE = 0.3
# Screening that leaves more than this share of the distances to compute is given up.
_SCREENED_SHARE = 0.5
# Of the memory: what rows in few dimensions may take, else they are made whenever they are needed,
# and what bounds may.
_REDUCED_SHARE = 4
_BOUNDS_SHARE = 8


class AcceleratedAssignment:
    """See the module; the contract is that of `assignment`.

    Memory beside the rows: 20 bytes a row, at most three eighths of the reader's, the sums, and a
    copy of the centroids for each core.
    """

    def __init__(self, reader, labels, sums):
        """Sets up a fit.

        Args:
          reader: ChunkReader: its source is read in windows, within its memory.
          labels: [N] int32, -1: none yet.
          sums: [K, D] float64 of these labels.
        """
        count, dim = reader.source.num_examples, reader.source.dim
        self._reader, self._labels, self._sums, self._num_clusters = (
            reader,
            labels.copy(),
            sums.copy(),
            len(sums),
        )
        self._squares = np.full(count, np.inf, np.float32)
        # An upper bound of the distance to the own centroid; the gaps are relative to it.
        self._reach = np.full(count, np.inf, np.float32)
        self._row_norms = np.full(count, np.nan, np.float32)
        self._rounding = distances.rounding(dim)
        self._threads = BlockThreads(
            dim, reader.check_stop, rows=_BLOCK_ROWS, centroids=max(len(sums), _BLOCK_ROWS)
        )
        self._centroids = CentroidFacts(len(sums), dim, self._threads)
        directions = screening.num_directions(dim)
        self._screens = bool(directions)
        self._keep_reduced = (
            reader.source.in_memory
            or 4 * count * (directions + 3) <= reader.memory_bytes // _REDUCED_SHARE
        )
        self._granule = granule_rows(
            count, len(sums), _BLOCK_ROWS, reader.memory_bytes // _BOUNDS_SHARE
        )
        self._rows = windows.Windows(reader.source, reader.memory_bytes, reader.check_stop)
        self._windows = {}

    def step(
        self, centroids: np.ndarray, begun=None, on_rows=lambda done, labels, squares, sums: None
    ) -> Assignment:
        """Args: centroids: [K, D] float32; begun: `Begun`; on_rows: see `assignment`."""
        begun = begun or Begun.nothing()
        self._computed, self._changed = 0, np.zeros(len(centroids), bool)
        self._changed[begun.changed(self._labels)] = True
        self._squares[: len(begun.squares)] = begun.squares
        with self._threads.one_product_each():
            self._centroids.follow(centroids)
            for start, rows in self._rows.from_row(len(begun.squares)):
                window = self._windows.pop(start, None) or _Window(start, len(rows))
                self._assign_window(window, rows)
                if self._granule:
                    self._windows[start] = window
                end = start + len(rows)
                check_finite(self._reader, self._squares, start, end)
                on_rows(end, self._labels, self._squares, self._sums)
        counts = np.bincount(self._labels, minlength=len(centroids))
        return Assignment(
            self._labels.copy(),
            self._squares.copy(),
            self._sums,
            counts,
            np.flatnonzero(self._changed),
            int(self._computed),
            self._rows.bytes_read,
        )

    def _assign_window(self, window, rows):
        own = slice(window.start, window.start + window.size)
        before = self._labels[own].copy()
        if window.bounds is None:
            self._meet_rows(window, rows)
        else:
            self._follow_own_centroids(window, rows)
        blocks, pairs = self._open_blocks(window)
        if pairs > _SORTED_SHARE * window.size * len(self._centroids.columns):
            self._sort(window)
            window.bounds = GapBounds(window.size, self._num_clusters, self._granule or _BLOCK_ROWS)
            blocks, pairs = self._open_blocks(window)
        left_open = sum(
            self._threads.run(functools.partial(self._assign_block, window, rows), blocks)
        )
        self._computed += left_open
        if self._screens:
            self._computed += pairs * self._centroids.reduction.dim // rows.shape[1]
            # Rows without common directions, which no projection tells apart, are not screened
            # again.
            self._screens = left_open <= _SCREENED_SHARE * window.size * len(
                self._centroids.columns
            )
        shares = machine.num_cores()
        moved = functools.partial(
            distances.move_rows, self._sums, rows, before, self._labels[own], shares
        )
        self._changed[
            np.concatenate(
                self._threads.run(moved, [(share,) for share in range(shares)], can_stop=False)
            )
        ] = True

    def _meet_rows(self, window, rows):
        """Computes what is kept of rows seen for the first time; those without a label get that of
        the centroid that looks nearest.
        """
        window.bounds = GapBounds(window.size, self._num_clusters, self._granule or _BLOCK_ROWS)
        if self._screens and self._centroids.reduction is None:
            self._find_reduction(rows)
        if self._screens and self._keep_reduced:
            window.reduced = (
                np.empty([window.size, self._centroids.reduction.dim], np.float32),
                np.empty(window.size, np.float32),
            )

        def meet(local):
            ids = window.start + local
            taken = self._take_shifted(rows, local)
            if self._screens:
                reduced, slack = self._centroids.reduction.rows(taken)
                if window.reduced:
                    window.reduced[0][local], window.reduced[1][local] = reduced, slack
                if self._labels[ids[0]] < 0:
                    columns = self._centroids.columns
                    self._labels[ids] = columns[
                        (reduced @ self._centroids.reduced[columns].T).argmin(axis=1)
                    ]
            self._row_norms[ids] = distances.square_norms(taken)
            if self._labels[ids[0]] >= 0:
                self._measure(window, rows, local)

        self._threads.run(meet, parts(np.arange(window.size), _BLOCK_ROWS))
        check_finite(self._reader, self._row_norms, window.start, window.start + window.size)

    def _find_reduction(self, rows):
        directions = screening.num_directions(rows.shape[1])
        sample = (
            rows[screening.Reduction.sample(len(rows), directions)].astype(np.float32)
            - self._centroids.shift
        )
        # Rows that are not finite are named when their norms are known.
        self._screens = bool(np.isfinite(np.einsum("ij,ij->", sample, sample)))
        if self._screens:
            self._centroids.reduce(screening.Reduction(sample, directions))

    def _follow_own_centroids(self, window, rows):
        """Computes the distance to the own centroid again where that has moved."""
        ids = window.start + window.order
        local = window.order[self._centroids.drift[self._labels[ids]] > 0]
        if len(local):
            before = self._reach[ids]
            self._threads.run(
                functools.partial(self._measure, window, rows), parts(local, _BLOCK_ROWS)
            )
            window.bounds.grow(self._reach[ids].astype(np.float64) - before)

    def _measure(self, window, rows, local):
        """Computes squares and reach of rows from their labels."""
        own, ids = slice(window.start, window.start + window.size), window.start + local
        measure(
            rows,
            self._centroids.values,
            self._labels[own],
            self._squares[own],
            self._threads,
            local,
        )
        self._reach[ids] = np.sqrt(distances.at_most(self._squares[ids], self._rounding))

    def _take_shifted(self, rows, local):
        taken = self._threads.memory.rows.take(rows, local)
        taken -= self._centroids.shift
        return taken

    def _open_blocks(self, window):
        """Returns the blocks that have something to compute (granules, centroids), and how many
        pairs of a row and a centroid that is.
        """
        blocks, pairs, size = [], 0, window.bounds.size
        per_block, count = _BLOCK_ROWS // size, -(-window.size // size)
        for first in range(0, count, per_block):
            last = min(first + per_block, count)
            is_open = (
                window.bounds.open_pairs(first, last, self._centroids.moved)
                & self._centroids.is_column
            )
            columns = np.flatnonzero(is_open.any(axis=0))
            if len(columns):
                granules = first + np.flatnonzero(is_open.any(axis=1))
                blocks.append((granules, columns))
                pairs += min(len(granules) * size, window.size) * len(columns)
        return blocks, pairs

    def _sort(self, window):
        """Puts rows with the same label, and those with similar centroids, side by side."""
        labels = self._labels[window.start + window.order]
        window.order = window.order[np.argsort(self._centroids.ranks[labels], kind="stable")]

    def _assign_block(self, window, rows, granules, columns):
        """Assigns the rows of the granules, given that only `columns` and the own centroid can be
        the nearest; renews their bounds.

        Returns:
          How many distances were computed.
        """
        places = (granules[:, None] * window.bounds.size + np.arange(window.bounds.size)).ravel()
        places = places[places < window.size]
        local = window.order[places]
        ids = window.start + local
        if self._screens:
            lower, margin = self._screen(window, rows, local, columns)
            near = lower <= (self._reach[ids] + margin)[:, None]
            some, those = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
        else:
            lower, margin = None, np.zeros(len(local), np.float32)
            some, those = np.arange(len(local)), np.arange(len(columns))
        labels, squares = self._labels[ids], self._squares[ids]
        if len(some):
            found = self._assign(window, rows, local[some], columns[those])
            np.sqrt(np.maximum(found, 0, out=found), out=found)
            if lower is None:
                lower = found
            else:
                found += margin[some, None]
                lower[some[:, None], those] = found
        reach = self._reach[ids]
        window.bounds.store(granules, columns, lower, reach + margin, self._centroids.moved)
        moved = np.flatnonzero((labels != self._labels[ids]) & (labels >= 0))
        gaps = np.sqrt(squares[moved] * np.float64(1 - self._rounding)) - reach[moved]
        window.bounds.lower(places[moved], labels[moved], gaps, self._centroids.moved)
        return len(some) * len(those)

    def _screen(self, window, rows, local, columns):
        """Returns at most the distances of rows to `columns`, infinite to the own centroid, [n, c]
        float32, and their slack, [n].
        """
        if window.reduced:
            reduced, slack = window.reduced[0][local], window.reduced[1][local]
        else:
            reduced, slack = self._centroids.reduction.rows(self._take_shifted(rows, local))
        every = len(columns) == self._num_clusters
        lower = screening.lower_bounds(
            reduced, self._centroids.reduced if every else self._centroids.reduced[columns]
        )
        self._put_own(lower, window.start + local, columns)
        return lower, slack + self._centroids.slack[columns].max()

    def _assign(self, window, rows, local, columns):
        """Assigns the rows at `local`, given that only `columns` and the own centroid can be the
        nearest.

        Returns:
          [n, c] float32: at most the squared distances; infinite to the own centroid, and to the
          one that was.
        """
        ids = window.start + local
        norms, labels, squares = self._row_norms[ids], self._labels[ids], self._squares[ids]
        every = len(columns) == self._num_clusters
        shifted = (
            self._centroids.shifted
            if every
            else self._threads.memory.centroids.take(self._centroids.shifted, columns)
        )
        lower = self._take_shifted(rows, local) @ shifted.T
        lower += (norms * np.float32(1 - 2 * self._rounding))[:, None]
        lower += self._centroids.norms[columns] * np.float32(1 - 2 * self._rounding)
        self._put_own(lower, ids, columns)
        best = lower.argmin(axis=1)
        least, upper = (
            lower[np.arange(len(local)), best],
            distances.at_most(squares, self._rounding),
        )
        some = np.flatnonzero(least <= upper)
        best, limit = (
            best[some],
            least[some]
            + (norms[some] + self._centroids.norms[columns[best[some]]])
            * np.float32(4 * self._rounding),
        )
        limit = np.minimum(limit, upper[some])
        near = lower[some] <= limit[:, None]
        own = (labels[some] >= 0) & (squares[some] * np.float32(1 - self._rounding) <= limit)
        found = columns[best].astype(np.int32)
        unclear = np.flatnonzero(near.sum(axis=1) + own > 1)
        if len(unclear):
            candidates = [
                np.append(columns[near[row]], labels[some[row]] if own[row] else []).astype(
                    np.int64
                )
                for row in unclear
            ]
            found[unclear] = self._decide(rows, local[some[unclear]], candidates)
        changed = found != labels[some]
        self._move(window, rows, local[some[changed]], found[changed])
        self._put_own(lower, ids, columns)
        return lower

    def _put_own(self, lower, ids, columns):
        """Makes the entries [n, c] of the rows' own centroids infinite."""
        place = np.full(self._num_clusters + 1, -1)  # One more for the label -1.
        place[columns] = np.arange(len(columns))
        places = place[self._labels[ids]]
        there = np.flatnonzero(places >= 0)
        lower[there, places[there]] = np.inf

    def _decide(self, rows, local, candidates):
        """Returns the nearest of each row's candidates (ascending: of equal ones the lowest), by
        distances in float64.
        """
        chosen = np.empty(len(local), np.int32)
        values = rows[local]
        for row, numbers in enumerate(candidates):
            numbers = np.sort(numbers)
            chosen[row] = numbers[
                np.argmin(
                    distances.exact_squares(values[row : row + 1], self._centroids.values[numbers])
                )
            ]
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

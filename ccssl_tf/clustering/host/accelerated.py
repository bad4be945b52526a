"""Lloyd's passes that compute only the distances that can matter.

They are exact (Elkan 2003; Ding and others 2015, "Yinyang"). Rows are taken in the order of their
clusters, similar clusters side by side, in blocks. `GapBounds` says which centroids any of a few
rows might go to, and `BlockAssignment` computes what is left open. It decides in float64 what
float32 leaves unclear, so the labels are those of exact arithmetic (ties: the lower number),
whatever was skipped: they depend on rows and centroids alone, and a resumed fit needs no bounds.
The sums change by the rows that moved. Blocks are worked on in as many threads as there are cores;
they share nothing that they write.
"""

import functools

import numpy as np

from ccssl_tf.clustering.assignment import Assignment, Begun, OnRows, PassResult
from ccssl_tf.clustering.host import distances, screening
from ccssl_tf.clustering.host.block_assignment import BlockAssignment
from ccssl_tf.clustering.host.block_threads import BlockThreads, parts
from ccssl_tf.clustering.host.centroid_facts import CentroidFacts
from ccssl_tf.clustering.host.cluster_sums import move_rows
from ccssl_tf.clustering.host.gap_bounds import granule_rows
from ccssl_tf.clustering.host.measuring import check_finite
from ccssl_tf.clustering.host.row_facts import RowFacts
from ccssl_tf.clustering.host.row_window import RowWindow
from ccssl_tf.clustering.host.windows import Windows
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader
from ccssl_tf.runs import machine

# Rows of a block.
_BLOCK_ROWS = 256
# Where the bounds leave open more than this share of the pairs of a row and a centroid, the rows
# are sorted anew, their bounds forgotten, and all pairs screened.
_MAX_OPEN_SHARE = 0.3
# Once screening leaves more than this share of all distances to be computed, the fit goes on
# without it.
_MAX_SCREENED_SHARE = 0.5
# The reduced rows are kept if they take at most 1 / 4 of the memory, else they are computed anew
# when they are needed. The bounds get 1 / 8: the less memory, the more rows share one.
_REDUCED_MEMORY_FRACTION = 4
_BOUNDS_MEMORY_FRACTION = 8


class AcceleratedAssignment(Assignment):
    """Skips distances, see the module.

    Memory beside the rows: 20 bytes a row, at most three eighths of the reader's memory, the sums,
    and a copy of the centroids for each core.
    """

    def __init__(self, reader: ChunkReader, labels: np.ndarray, sums: np.ndarray):
        """See `MakeAssignment`; the reader's source is read in windows, within its memory."""
        source, dim = reader.source, reader.source.dim
        self._source, self._sums, self._num_clusters = source, sums.copy(), len(sums)
        self._threads = BlockThreads(
            dim, reader.check_stop, rows=_BLOCK_ROWS, centroids=max(len(sums), _BLOCK_ROWS)
        )
        self._centroids = CentroidFacts(len(sums), dim, self._threads)
        self._facts = RowFacts(labels, self._centroids, self._threads)
        self._block = BlockAssignment(self._facts, self._centroids, self._threads)
        directions = screening.num_directions(dim)
        self._screens = bool(directions)
        self._keep_reduced = (
            source.in_memory
            or 4 * source.num_examples * (directions + 3)
            <= reader.memory_bytes // _REDUCED_MEMORY_FRACTION
        )
        # Rows of a granule; 0: bounds take too much memory, and are forgotten after each window.
        self._granule = granule_rows(
            source.num_examples,
            len(sums),
            _BLOCK_ROWS,
            reader.memory_bytes // _BOUNDS_MEMORY_FRACTION,
        )
        self._rows = Windows(source, reader.memory_bytes, reader.check_stop)
        self._windows: dict[int, RowWindow] = {}

    def step(
        self, centroids: np.ndarray, begun: Begun | None = None, on_rows: OnRows | None = None
    ) -> PassResult:
        """See `Assignment`."""
        begun, facts = begun or Begun.nothing(), self._facts
        computed, changed = 0, np.zeros(len(centroids), bool)
        changed[begun.changed(facts.labels)] = True
        facts.squares[: len(begun.squares)] = begun.squares
        with self._threads.one_product_each():
            self._centroids.follow(centroids)
            for start, rows in self._rows.from_row(len(begun.squares)):
                window = self._windows.pop(start, None) or RowWindow(
                    start, len(rows), self._num_clusters, self._granule or _BLOCK_ROWS
                )
                before = facts.labels[window.rows].copy()
                computed += self._assign_window(window, rows)
                weights = self._source.weights_of(window.rows)
                changed[self._move_sums(rows, before, facts.labels[window.rows], weights)] = True
                if self._granule:
                    self._windows[start] = window
                check_finite(self._source, facts.squares[window.rows], start)
                if on_rows:
                    on_rows(window.rows.stop, facts.labels, facts.squares, self._sums)
        return PassResult(
            labels=facts.labels.copy(),
            squares=facts.squares.copy(),
            sums=self._sums,
            counts=np.bincount(facts.labels, self._source.weights, minlength=len(centroids)),
            changed=np.flatnonzero(changed),
            distances=int(computed),
            bytes_read=self._rows.bytes_read,
        )

    def _assign_window(self, window: RowWindow, rows: np.ndarray) -> int:
        """Assigns the rows of a window; returns how many distances that took.

        Those in few dimensions count by the share of D that they have.
        """
        if window.is_met:
            self._follow_centroids(window, rows)
        else:
            self._meet_rows(window, rows)
        blocks, pairs = window.open_blocks(self._centroids, _BLOCK_ROWS)
        all_pairs = window.size * len(self._centroids.columns)
        if pairs > _MAX_OPEN_SHARE * all_pairs:
            window.sort(self._centroids.ranks[self._facts.labels[window.start + window.order]])
            blocks, pairs = window.open_blocks(self._centroids, _BLOCK_ROWS)
        assign_block = functools.partial(self._block.assign, window, rows, self._screens)
        computed = left_open = sum(self._threads.run(assign_block, blocks))
        if self._screens:
            assert self._centroids.reduction is not None
            computed += pairs * self._centroids.reduction.dim // rows.shape[1]
            # Rows without common directions are not told apart by any projection.
            self._screens = left_open <= _MAX_SCREENED_SHARE * all_pairs
        return computed

    def _move_sums(
        self,
        rows: np.ndarray,
        before: np.ndarray,
        after: np.ndarray,
        weights: np.ndarray | None,
    ) -> np.ndarray:
        """Makes the sums follow the labels [n] of the rows; returns the clusters that changed."""
        shares = machine.num_cores()
        move_share = functools.partial(move_rows, self._sums, rows, before, after, weights, shares)
        return np.concatenate(
            self._threads.run(move_share, [(share,) for share in range(shares)], can_stop=False)
        )

    def _meet_rows(self, window: RowWindow, rows: np.ndarray) -> None:
        """Computes what is kept of rows that are seen for the first time.

        Rows without a label get that of the centroid that is nearest in few dimensions.
        """
        if self._screens and self._centroids.reduction is None:
            self._make_reduction(rows)
        reduction, facts = self._centroids.reduction if self._screens else None, self._facts
        if reduction and self._keep_reduced:
            window.reduced = (
                np.empty([window.size, reduction.dim], np.float32),
                np.empty(window.size, np.float32),
            )

        def meet(local: np.ndarray) -> None:
            ids = window.start + local
            taken = facts.take_shifted(rows, local)
            if reduction:
                reduced, slack = reduction.rows(taken)
                if window.reduced:
                    window.reduced[0][local], window.reduced[1][local] = reduced, slack
                if facts.labels[ids[0]] < 0:
                    columns = self._centroids.columns
                    squares = screening.reduced_squares(reduced, self._centroids.reduced[columns])
                    facts.labels[ids] = columns[squares.argmin(axis=1)]
            facts.norms[ids] = distances.square_norms(taken)
            if facts.labels[ids[0]] >= 0:
                facts.measure(window, rows, local)

        self._threads.run(meet, parts(np.arange(window.size), _BLOCK_ROWS))
        window.is_met = True
        check_finite(self._source, facts.norms[window.rows], window.start)

    def _make_reduction(self, rows: np.ndarray) -> None:
        directions = screening.num_directions(rows.shape[1])
        numbers = screening.Reduction.sample(len(rows), directions)
        sample = rows[numbers].astype(np.float32) - self._centroids.shift
        # Where a row is not finite, `check_finite` names it as soon as the norms are computed.
        self._screens = bool(np.isfinite(np.einsum("ij,ij->", sample, sample)))
        if self._screens:
            self._centroids.reduce(screening.Reduction(sample, directions))

    def _follow_centroids(self, window: RowWindow, rows: np.ndarray) -> None:
        """Measures the rows whose centroid has moved, and lets the bounds know."""
        ids = window.start + window.order
        local = window.order[self._centroids.drift[self._facts.labels[ids]] > 0]
        if len(local):
            before = self._facts.reach[ids]
            measure_some = functools.partial(self._facts.measure, window, rows)
            self._threads.run(measure_some, parts(local, _BLOCK_ROWS))
            window.bounds.grow(self._facts.reach[ids].astype(np.float64) - before)

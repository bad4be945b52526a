"""Pairs of rows of one cluster that lie close together: images that are nearly the same.

For R > 0 a pair is listed where

    |x - y| <= R m,    m = mean over all rows of the distance of a row to the centroid of its label.

Only rows of one cluster are compared, which takes about a K-th of all distances: equal rows always
are in one, other close ones may lie on both sides of a border. Rows are read in the order of their
clusters, as many at a time as half the memory holds. What these are compared with is among them,
but for the rest of a cluster that does not fit, which goes through the other half. Products in
float32 leave out the pairs that cannot be close, differences in float64 decide about the others.
"""

import itertools
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from ccssl_tf.clustering.host import distances as formula
from ccssl_tf.clustering.pseudo_labels import PseudoLabels
from ccssl_tf.clustering.rows import sources
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader
from ccssl_tf.data import image_list
from ccssl_tf.data.feature_source import FeatureSource
from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.files import write_csv
from ccssl_tf.runs.progress import Progress

NAME = "near_duplicates.csv"
COLUMNS = ("split", "cluster", "index_a", "index_b", "filename_a", "filename_b", "distance")
# Rows whose products with as many others are computed at a time.
_TILE_ROWS = 1024
# Bytes of the differences, in float64, that are computed at a time.
_DIFFERENCE_BYTES = 64 << 20
# Pairs that are listed, at most; they take 2 GB while they are sorted.
_MAX_PAIRS = 50_000_000

# Positions of the first and the second row of some pairs, [p] each, and their distances [p].
Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]


def find_of_split(
    split: str,
    source: FeatureSource,
    labels: np.ndarray,
    distances: np.ndarray,
    ratio: float,
    *,
    memory_bytes: int,
    should_stop: Callable[[], bool] | None,
) -> Pairs:
    """Returns the pairs of rows that the module's docstring describes; prints how many there are.

    Args:
      split: its name, for the line.
      source: of its rows, as they were compared with the centroids.
      labels, distances: as `KMeans.assign` returns them.
      ratio: R.
      memory_bytes, should_stop: as of `find_pairs`.
    """
    limit = ratio * float(distances.mean(dtype=np.float64))
    pairs = find_pairs(source, labels, limit, memory_bytes=memory_bytes, should_stop=should_stop)
    print(
        f"near duplicates  {split}  {len(pairs[0])} pairs of "
        f"{len(np.union1d(pairs[0], pairs[1]))} images are no further apart than {limit:.6g}",
        flush=True,
    )
    return pairs


def find_pairs(
    features: sources.Features,
    labels: np.ndarray,
    limit: float,
    *,
    memory_bytes: int = 4 << 30,
    should_stop: Callable[[], bool] | None = None,
) -> Pairs:
    """Returns the pairs of rows with one label that are no further from each other than `limit`.

    Args:
      features: [N, D], as `KMeans.fit` takes them.
      labels: [N] int, at least 0.
      limit: Euclidean distance.
      memory_bytes: that rows may take together.
      should_stop: asked now and then; True ends the work with `Interrupted`.

    Returns:
      Positions a < b [p] int64 each and distances [p] float64, by label, a and b.

    Raises:
      InputError: more than 50 million pairs.

    >>> rows = np.array([[0, 0], [3, 4], [0, 1], [9, 9]], np.float32)
    >>> find_pairs(rows, np.array([0, 0, 0, 1]), 4.5)
    (array([0, 1]), array([2, 2]), array([1.        , 4.24264069]))
    """
    source = sources.open_source(features, memory_bytes)
    reader = ChunkReader(source, _TILE_ROWS, 0, should_stop)
    capacity = max(memory_bytes // (8 * source.dim), _TILE_ROWS)
    found: list[Pairs] = []
    count = 0
    for pairs in _found(reader, labels, limit, capacity):
        found.append(pairs)
        count += len(pairs[0])
        if count > _MAX_PAIRS:
            raise InputError(
                f"near_duplicates: more than {_MAX_PAIRS:,} pairs are no further than {limit:.6g} "
                "from each other; lower it"
            )
    nothing = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    first, second, lengths = map(np.concatenate, zip(nothing, *found, strict=True))
    first, second = np.minimum(first, second), np.maximum(first, second)
    order = np.lexsort([second, first, labels[first]])
    return first[order], second[order], lengths[order]


class _Held(NamedTuple):
    """Rows of one cluster.

    Attributes:
      values: [n, D] float32, in which they lie among others.
      places: [m] int, where.
      positions: [m] int64, of these in the source.
    """

    values: np.ndarray
    places: np.ndarray
    positions: np.ndarray

    def tile(self, start: int, shift: np.ndarray) -> np.ndarray:
        """Returns the rows from number `start` on, less shift [D], as many as a tile has."""
        tile = self.values[self.places[start : start + _TILE_ROWS]]
        tile -= shift
        return tile


def _found(reader: ChunkReader, labels: np.ndarray, limit: float, capacity: int) -> Iterator[Pairs]:
    """Yields all pairs, each once, in any order; capacity: number of rows held at a time."""
    order = np.argsort(labels, kind="stable")
    sorted_labels = labels[order]
    progress = Progress("near duplicates", len(order), "images")
    for start in range(0, len(order), capacity):
        positions = np.sort(order[start : start + capacity])
        values, of_rows = reader.take(positions), labels[positions]
        end = start + len(positions)
        last = sorted_labels[end - 1]
        by_label = np.argsort(of_rows, kind="stable")
        borders = np.flatnonzero(np.diff(of_rows[by_label])) + 1
        for places in np.split(by_label, borders):
            held = _Held(values, places, positions[places])
            yield from _close(reader, held, held, limit)
        # What follows is the rest of a cluster that does not fit.
        last_end = int(np.searchsorted(sorted_labels, last, side="right"))
        for at in range(end, last_end, capacity):
            rest = order[at : min(at + capacity, last_end)]
            others = _Held(reader.take(rest), np.arange(len(rest)), rest)
            yield from _close(reader, held, others, limit)
        if end < len(order):
            progress.update(end)


def _close(reader: ChunkReader, ours: _Held, others: _Held, limit: float) -> Iterator[Pairs]:
    """Yields the close pairs of one of our rows and another one, each once if both are the same."""
    is_same, shift = others is ours, ours.values[ours.places[0]]
    rounding = formula.rounding(len(shift))
    size = max(_DIFFERENCE_BYTES // (8 * len(shift)), 1)
    for left in range(0, len(ours.places), _TILE_ROWS):
        one = ours.tile(left, shift)
        for right in range(left if is_same else 0, len(others.places), _TILE_ROWS):
            reader.check_stop()
            other = others.tile(right, shift)
            norms = formula.square_norms(one)[:, None] + formula.square_norms(other)
            is_close = norms - 2 * (one @ other.T) <= limit**2 + 2 * rounding * norms
            if is_same and left == right:
                is_close = np.triu(is_close, 1)
            a, b = np.nonzero(is_close)
            for at in range(0, len(a), size):
                i, j = a[at : at + size] + left, b[at : at + size] + right
                squares = formula.exact_squares(
                    ours.values[ours.places[i]], others.values[others.places[j]]
                )
                near = squares <= limit**2
                lengths = np.sqrt(squares[near])
                yield ours.positions[i[near]], others.positions[j[near]], lengths


def write(
    directory: str | os.PathLike,
    splits: dict[str, PseudoLabels],
    pairs: dict[str, Pairs],
) -> None:
    """Writes `near_duplicates.csv`, wholly or not at all.

    File names are as in clusters.csv; index_a < index_b; ordered by split, cluster and indices.

    Args:
      directory: path of an existing directory.
      splits: split name -> its pseudo-labels.
      pairs: split name -> pairs of rows in the same order.
    """
    lines = (_table(split, labels, *pairs[split]) for split, labels in splits.items())
    write_csv(pathlib.Path(directory) / NAME, COLUMNS, itertools.chain.from_iterable(lines))


def _table(
    split: str,
    labels: PseudoLabels,
    first: np.ndarray,
    second: np.ndarray,
    lengths: np.ndarray,
) -> Iterator[list]:
    """Yields the lines of a split."""
    swapped = labels.index[first] > labels.index[second]
    first, second = np.where(swapped, second, first), np.where(swapped, first, second)
    order = np.lexsort([labels.index[second], labels.index[first], labels.labels[first]])
    names = labels.filenames
    for a, b, length in zip(first[order], second[order], lengths[order], strict=True):
        shown = [image_list.text_of(names[row]) if names else "" for row in (a, b)]
        index = int(labels.index[a]), int(labels.index[b])
        yield [split, int(labels.labels[a]), *index, *shown, f"{length:.6g}"]

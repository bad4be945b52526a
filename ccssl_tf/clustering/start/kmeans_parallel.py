"""k-means||, a start that sees all rows in few passes (Bahmani and others 2012, algorithm 2).

Their paper is called "Scalable k-means++".
"""

import numpy as np

from ccssl_tf.clustering.host import plain
from ccssl_tf.clustering.messages import LOGGER
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader
from ccssl_tf.clustering.start.kmeans_plus_plus import affordable_rows, kmeans_plus_plus

# Number of rounds, and of candidates that a round draws, in K. By their section 5 the result is
# then as good as that of k-means++, or better.
ROUNDS = 5
_OVERSAMPLING = 2


def num_candidates(dim: int, num_clusters: int, memory_bytes: int) -> int:
    """Returns how many candidates a round draws on average, if all are affordable."""
    affordable = affordable_rows(dim, num_clusters, memory_bytes)
    return min(_OVERSAMPLING * num_clusters, affordable // ROUNDS)


def kmeans_parallel(reader: ChunkReader, num_clusters: int, seed: int) -> np.ndarray:
    """Draws about 2 K rows as candidates in each of 5 rounds; k-means++ takes K of all of them.

    A row is drawn with a probability in proportion to its squared distance to the nearest candidate
    so far. For k-means++ a candidate weighs as much as there are rows nearest to it. Fewer are
    drawn if the candidates would take more than a third of the memory. If they are fewer than the
    clusters (there are too few different rows), uniformly drawn rows are added.

    Args:
      reader: of the rows.
      num_clusters: K.
      seed: of the draws; a row's draw does not depend on how the rows are read.

    Returns:
      [K, D] float32.
    """
    source = reader.source
    count = source.num_examples
    wanted = num_candidates(source.dim, num_clusters, reader.memory_bytes)
    closest = _Closest(reader)
    first = np.random.default_rng([seed, 4]).integers(count, size=1)
    positions, fresh = first, reader.take(first)
    candidates = [fresh]
    for number in range(ROUNDS):
        closest.add(fresh)
        shares = closest.squares.astype(np.float64)
        if source.weights is not None:
            shares *= source.weights
        draws = np.random.default_rng([seed, 4, number]).random(count)
        fresh_positions = np.flatnonzero(draws * shares.sum() < wanted * shares)
        if not len(fresh_positions):
            fresh = fresh[:0]
            break
        fresh = reader.take(fresh_positions)
        positions = np.concatenate([positions, fresh_positions])
        candidates.append(fresh)
    closest.add(fresh)
    weights = np.bincount(closest.labels, source.weights, minlength=len(positions))
    LOGGER.info(
        f"start: k-means||, {len(candidates)} passes, {len(positions)} candidates of {count} rows"
    )
    rows = np.concatenate(candidates)
    if len(rows) < num_clusters:
        rest = np.setdiff1d(np.arange(count), positions)
        extra = np.sort(
            np.random.default_rng([seed, 5]).choice(rest, num_clusters - len(rows), replace=False)
        )
        rows = np.concatenate([rows, reader.take(extra)])
        weights = np.concatenate([weights, np.ones(len(extra))])
    weights = np.where(weights > 0, weights, 1)
    return kmeans_plus_plus(rows, num_clusters, seed, reader.check_stop, weights)


class _Closest:
    """Every row's nearest candidate so far.

    Attributes:
      labels: [N] int32, its number.
      squares: [N] float32, the squared distance to it.
    """

    def __init__(self, reader: ChunkReader):
        self._reader, self._num_candidates = reader, 0
        self.labels = np.zeros(reader.source.num_examples, np.int32)
        self.squares = np.full(reader.source.num_examples, np.inf, np.float32)

    def add(self, candidates: np.ndarray) -> None:
        """Makes one pass in which rows may find `candidates` [n, D] float32 nearer than others."""
        if not len(candidates):
            return
        labels, squares = plain.nearest(self._reader, candidates)
        is_nearer = squares < self.squares
        self.labels[is_nearer] = self._num_candidates + labels[is_nearer]
        self.squares[is_nearer] = squares[is_nearer]
        self._num_candidates += len(candidates)

"""k-means|| (Bahmani and others 2012, "Scalable k-means++", algorithm 2): a start that sees all
rows, in few passes.
"""

import numpy as np

from ccssl_tf.clustering.initialization import kmeans_plus_plus
from ccssl_tf.clustering.nearest import Centroids

# The paper's section 5: with l = 2 K and 5 rounds it is as good as k-means++ or better.
ROUNDS = 5
_OVERSAMPLING = 2


def num_candidates(dim: int, num_clusters: int, memory_bytes: int) -> int:
    """Returns how many candidates a round draws on average."""
    affordable = max(memory_bytes // (12 * dim), 2 * num_clusters)
    return min(_OVERSAMPLING * num_clusters, affordable // ROUNDS)


def kmeans_parallel(reader, num_clusters: int, seed: int) -> np.ndarray:
    """Draws about 2 K rows in each of 5 passes, with probability proportional to the squared
    distance; k-means++ takes K of them.

    Each candidate weighs in it as the rows that are nearest to it. Fewer are drawn if the
    candidates would take more than a third of the memory. With fewer candidates than clusters (too
    few different rows) uniformly drawn rows fill up.

    Args:
      reader: ChunkReader.
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
        total = float(closest.squares.sum(dtype=np.float64))
        draws = np.random.default_rng([seed, 4, number]).random(count)
        fresh_positions = np.flatnonzero(
            draws * total < wanted * closest.squares.astype(np.float64)
        )
        if not len(fresh_positions):
            fresh = fresh[:0]
            break
        fresh = reader.take(fresh_positions)
        positions = np.concatenate([positions, fresh_positions])
        candidates.append(fresh)
    closest.add(fresh)
    weights = np.bincount(closest.labels, minlength=len(positions))
    print(
        f"k-means  start: k-means||, {len(candidates)} passes, {len(positions)} candidates of "
        f"{count} rows",
        flush=True,
    )
    rows = np.concatenate(candidates)
    if len(rows) < num_clusters:
        rest = np.setdiff1d(np.arange(count), positions)
        extra = np.sort(
            np.random.default_rng([seed, 5]).choice(rest, num_clusters - len(rows), replace=False)
        )
        rows, weights = (
            np.concatenate([rows, reader.take(extra)]),
            np.concatenate([weights, np.ones(len(extra))]),
        )
    return kmeans_plus_plus(rows, num_clusters, seed, reader.check_stop, np.maximum(weights, 1))


class _Closest:
    """Every row's nearest candidate so far.

    Attributes: labels: [N] int32; squares: [N] float32, the squared distances to them.
    """

    def __init__(self, reader):
        self._reader, self._candidates = reader, 0
        self.labels = np.zeros(reader.source.num_examples, np.int32)
        self.squares = np.full(reader.source.num_examples, np.inf, np.float32)

    def add(self, candidates):
        """One pass: rows that are nearer to one of `candidates` [n, D] float32 than to all before
        become its own.
        """
        if not len(candidates):
            return
        shift = candidates.mean(axis=0, dtype=np.float64).astype(np.float32)
        centroids = Centroids(candidates, shift)
        for start, chunk in self._reader:
            labels, squares = centroids.nearest(chunk)
            own = slice(start, start + len(chunk))
            if not np.isfinite(squares).all():
                raise self._reader.source.not_finite(start + int(np.argmin(np.isfinite(squares))))
            nearer = squares < self.squares[own]
            self.labels[own][nearer] = self._candidates + labels[nearer]
            self.squares[own][nearer] = squares[nearer]
        self._candidates += len(candidates)

"""Nearest neighbours of feature rows, and the classes that they vote for.

The rows to search stream by in blocks, so that only the queries and their best neighbours so far
are kept. A product in float32 makes a short list of each block, which is ranked by distances in
float64.
"""

from collections.abc import Callable, Iterable

import numpy as np
import tensorflow as tf

# Rows beyond the neighbours wanted that a short list has: rounding in float32 may swap as many.
_SLACK = 16
# Numbers of one gathered part of the short lists: 256 MB in float64.
_GATHERED = 32_000_000
_QUERIES_AT_ONCE = 4096


def normalized(rows: np.ndarray) -> np.ndarray:
    """Returns rows [n, D] as float32 of length 1; a row of zeros stays."""
    rows = np.asarray(rows, np.float32)
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
    return rows / np.maximum(lengths, 1e-30).astype(np.float32)[:, None]


def nearest_neighbors(
    queries: np.ndarray,
    blocks: Iterable[np.ndarray],
    num_neighbors: int,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the rows nearest to each query by Euclidean distance.

    Args:
      queries: [N, D] float32.
      blocks: the rows to search, in order, as [n, D] arrays; together at least as many as wanted.
      num_neighbors: k.
      progress: called after each block with the number of rows searched.

    Returns:
      Positions [N, k] int64 of the nearest rows, nearest first, of equally near ones the first;
      squared distances [N, k] float64.

    Raises:
      ValueError: fewer rows than wanted.
    """
    queries = np.asarray(queries, np.float32)
    positions = np.empty([len(queries), 0], np.int64)
    distances = np.empty([len(queries), 0])
    done = 0
    for block in blocks:
        block = np.asarray(block, np.float32)
        listed = _short_lists(queries, block, min(num_neighbors + _SLACK, len(block)))
        exact = _exact_distances(queries, block, listed)
        positions = np.concatenate([positions, listed + done], 1)
        distances = np.concatenate([distances, exact], 1)
        order = np.lexsort((positions, distances), axis=1)[:, :num_neighbors]
        positions = np.take_along_axis(positions, order, 1)
        distances = np.take_along_axis(distances, order, 1)
        done += len(block)
        progress(done)
    if done < num_neighbors:
        raise ValueError(f"{done} rows to search, fewer than the {num_neighbors} neighbours wanted")
    return positions, distances


@tf.function(reduce_retracing=True, autograph=False)
def _listed(queries, block, count):
    half_norms = tf.reduce_sum(tf.square(block), 1) / 2
    return tf.math.top_k(tf.matmul(queries, block, transpose_b=True) - half_norms, count)[1]


def _short_lists(queries, block, count):
    """Positions [N, count] int64 in the block of the rows that are nearest in float32."""
    # Distances stay as they are when all rows move, and small ones are told apart better.
    center = block.mean(0, dtype=np.float64).astype(np.float32)
    rows = tf.constant(block - center)
    parts = [
        _listed(tf.constant(queries[start : start + _QUERIES_AT_ONCE] - center), rows, count)
        for start in range(0, len(queries), _QUERIES_AT_ONCE)
    ]
    return np.concatenate([part.numpy() for part in parts]).astype(np.int64)


def _exact_distances(queries, block, listed):
    """Squared distances [N, count] float64 of the listed rows."""
    at_once = max(_GATHERED // (listed.shape[1] * block.shape[1]), 1)
    result = np.empty(listed.shape)
    for start in range(0, len(queries), at_once):
        part = slice(start, start + at_once)
        difference = block[listed[part]].astype(np.float64) - queries[part, None]
        result[part] = np.einsum("nkd,nkd->nk", difference, difference)
    return result


def votes(
    labels: np.ndarray, distances: np.ndarray, num_classes: int, temperature: float = 0.0
) -> np.ndarray:
    """Returns the classes that the neighbours vote for, the surest first.

    Args:
      labels: [N, k] int, classes of the neighbours.
      distances: [N, k], squared, between rows of length 1 where there is a temperature.
      num_classes: C.
      temperature: a neighbour's vote weighs exp(cosine / temperature) (Wu et al. 2018, section
        3.4); 0: all weigh the same.

    Returns:
      [N, C] int64; of classes with as many votes the smallest comes first.
    """
    weights = np.ones(labels.shape)
    if temperature:
        # The greatest weight of a query is 1, so that none is infinite.
        cosines = 1 - distances / 2
        weights = np.exp((cosines - cosines.max(1, keepdims=True)) / temperature)
    sums = np.zeros([len(labels), num_classes])
    np.add.at(sums, (np.arange(len(labels))[:, None], labels), weights)
    return np.argsort(-sums, axis=1, kind="stable")

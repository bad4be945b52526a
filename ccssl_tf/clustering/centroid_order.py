"""An order of the centroids in which similar ones are neighbours: rows sorted by it make blocks
that need few centroids.
"""

import numpy as np

_PROJECTED_DIM = 64
_POWER_STEPS = 8
_LEAF = 4


def neighbour_ranks(centroids: np.ndarray) -> np.ndarray:
    """Halves the centroids again and again along their widest direction, in a random projection.

    Args:
      centroids: [K, D] float32.

    Returns:
      [K] int64, the place of every centroid in the order; the same for the same centroids.
    """
    generator = np.random.default_rng(0)
    projected = centroids - centroids.mean(axis=0)
    if centroids.shape[1] > _PROJECTED_DIM:
        projected = projected @ generator.standard_normal(
            [centroids.shape[1], _PROJECTED_DIM], np.float32
        )
    start = generator.standard_normal(projected.shape[1]).astype(np.float32)
    order, pieces = [], [np.arange(len(centroids))]
    while pieces:
        piece = pieces.pop()
        if len(piece) <= _LEAF:
            order.append(piece)
            continue
        piece = piece[np.argsort(_along_widest_direction(projected[piece], start), kind="stable")]
        half = len(piece) // 2
        pieces += [piece[half:], piece[:half]]
    ranks = np.empty(len(centroids), np.int64)
    ranks[np.concatenate(order)] = np.arange(len(centroids))
    return ranks


def _along_widest_direction(points, direction):
    """Returns the coordinates of the points [n, d] along (about) their first principal
    direction.
    """
    centred = points - points.mean(axis=0)
    scatter = centred.T @ centred
    scatter /= max(np.trace(scatter), np.finfo(np.float32).tiny)
    for _ in range(_POWER_STEPS):
        direction = scatter @ direction
        direction /= max(np.linalg.norm(direction), np.finfo(np.float32).tiny)
    return centred @ direction

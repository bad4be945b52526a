"""An order of the centroids in which similar ones are neighbours.

Rows sorted by it make blocks for which few centroids come into question.
"""

import numpy as np

# Dimensions of the random projection.
_PROJECTED_DIM = 64
# Steps of the power iteration that approximates the widest direction.
_POWER_STEPS = 8
# Pieces of so many centroids or fewer are not halved.
_MAX_PIECE = 4


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
        if len(piece) <= _MAX_PIECE:
            order.append(piece)
            continue
        piece = piece[np.argsort(_along_widest_direction(projected[piece], start), kind="stable")]
        half = len(piece) // 2
        pieces += [piece[half:], piece[:half]]
    ranks = np.empty(len(centroids), np.int64)
    ranks[np.concatenate(order)] = np.arange(len(centroids))
    return ranks


def _along_widest_direction(points: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Returns the coordinates of points along, approximately, their first principal direction.

    Args:
      points: [n, d] float32.
      direction: [d] float32, where the power iteration starts.

    Returns:
      [n] float32.
    """
    centred = points - points.mean(axis=0)
    scatter = centred.T @ centred
    scatter /= max(np.trace(scatter), np.finfo(np.float32).tiny)
    for _ in range(_POWER_STEPS):
        direction = scatter @ direction
        direction /= max(np.linalg.norm(direction), np.finfo(np.float32).tiny)
    return centred @ direction

"""Whether features tell images apart: the rank and spread of rows, and the classes of neighbours.

Features of a network that has collapsed are the same for all images, or vary along a line only.
"""

from collections.abc import Mapping

import numpy as np

from ccssl_tf.metrics import nearest_neighbors

# As in ccssl_tf.knn_probe.
NUM_NEIGHBORS = 20
_TEMPERATURE = 0.07
# With fewer images a class most neighbours cannot be of one's own.
_IMAGES_PER_CLASS = 10
_LOWEST_RANK = 2.0
# Of the mean: AlexNet as Caffe starts it, with biases of 1, has 2e-4.
_LOWEST_SPREAD = 1e-5


def effective_rank(rows: np.ndarray) -> float:
    """Returns exp of the entropy of the normalised singular values (Roy and Vetterli 2007) of the
    rows less their mean: in how many directions, weighed by how far, the rows differ.

    Args:
      rows: [N, D] float.

    Returns:
      A number in [1, min(N - 1, D)]; 0 where all rows are equal.

    >>> effective_rank(np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]]))
    2.0
    """
    rows = np.asarray(rows, np.float64)
    values = np.linalg.svd(rows - rows.mean(0), compute_uv=False)
    # What is left of equal rows is rounding.
    if values[0] <= np.finfo(np.float32).eps * np.abs(rows).max(initial=0) * np.sqrt(rows.size):
        return 0.0
    shares = values[values > 0] / values.sum()
    return round(float(np.exp(-np.sum(shares * np.log(shares)))), 6)


def neighbor_accuracy(rows: np.ndarray, labels: np.ndarray) -> float:
    """Returns the share of rows whose class is what their 20 nearest others vote for.

    Votes weigh exp(cosine / 0.07) (Wu et al. 2018, section 3.4).

    Args:
      rows: [N, D] float, N > 20.
      labels: [N] int64, at least 0.

    >>> rows = np.repeat(np.eye(2), 30, axis=0)
    >>> neighbor_accuracy(rows, np.repeat([0, 1], 30))
    1.0
    """
    rows = nearest_neighbors.normalized(rows)
    positions, distances = nearest_neighbors.nearest_neighbors(rows, [rows], NUM_NEIGHBORS + 1)
    # Of rows equal to many others the row itself may not be among the nearest: the last one goes.
    is_other = positions != np.arange(len(rows))[:, None]
    is_other[is_other.all(1), -1] = False
    shape = len(rows), NUM_NEIGHBORS
    classes, distances = labels[positions[is_other]], distances[is_other]
    answers = nearest_neighbors.votes(
        classes.reshape(shape), distances.reshape(shape), int(labels.max()) + 1, _TEMPERATURE
    )
    return float(np.mean(answers[:, 0] == labels))


def feature_health(rows: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Returns what tells a collapse of features.

    Args:
      rows: [N, D] float.
      labels: [N] int64, classes; -1 for none.

    Returns:
      `effective_rank`; `feature_std`, the mean over the dimensions of the standard deviation;
      `feature_mean`, the mean of the absolute values; `neighbor_accuracy`, where all rows have
      labels, at least 10 a class on average. All are NaN where a row is not finite.

    >>> sorted(feature_health(np.eye(4), np.full(4, -1)))
    ['effective_rank', 'feature_mean', 'feature_std']
    """
    if not np.isfinite(rows).all():
        return dict.fromkeys(("effective_rank", "feature_std", "feature_mean"), float("nan"))
    rows = np.asarray(rows, np.float64)
    found = dict(
        effective_rank=effective_rank(rows),
        feature_std=float(rows.std(0).mean()),
        feature_mean=float(np.abs(rows).mean()),
    )
    enough = max(_IMAGES_PER_CLASS * len(np.unique(labels)), NUM_NEIGHBORS + 1)
    if labels.min() >= 0 and len(rows) >= enough:
        found["neighbor_accuracy"] = neighbor_accuracy(rows, labels)
    return found


def has_collapsed(found: Mapping[str, float]) -> bool:
    """Whether `feature_health` found that rows are as good as equal, or differ along a line only.

    >>> has_collapsed(feature_health(np.ones([30, 8]), np.full(30, -1)))
    True
    """
    spreads = found["feature_std"] > _LOWEST_SPREAD * found["feature_mean"]
    return not (found["effective_rank"] >= _LOWEST_RANK and spreads)

"""How clusters agree with classes, and how even they are."""

import numpy as np
import numpy.typing as npt


def normalized_mutual_information(labels: npt.ArrayLike, classes: npt.ArrayLike) -> float:
    """Returns mutual information over the arithmetic mean of the entropies, in [0, 1].

    That is scikit-learn's default.

    Args:
      labels: [N] int, clusters.
      classes: [N] int, ground truth.

    >>> round(normalized_mutual_information([0, 0, 1, 1], [7, 7, 7, 5]), 4)
    0.3437
    """
    from sklearn.metrics import normalized_mutual_info_score

    return float(normalized_mutual_info_score(classes, labels))


def adjusted_rand_index(labels: npt.ArrayLike, classes: npt.ArrayLike) -> float:
    """Returns the agreement on pairs, corrected for chance.

    It is 1 for equal partitions and about 0 for independent ones.

    Args:
      labels: [N] int, clusters.
      classes: [N] int, ground truth.

    >>> adjusted_rand_index([0, 0, 1, 1], [7, 7, 5, 5])
    1.0
    """
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(classes, labels))


def cluster_purities(
    labels: npt.ArrayLike, classes: npt.ArrayLike, num_clusters: int
) -> np.ndarray:
    """Returns the share that each cluster's commonest class has of it.

    Args:
      labels: [N] int in [0, K).
      classes: [N] int, at least 0.
      num_clusters: K.

    Returns:
      [K] float64 in [0, 1]; NaN for an empty cluster.

    >>> print(cluster_purities([0, 0, 1, 1], [7, 7, 7, 5], num_clusters=3))
    [1.  0.5 nan]
    """
    labels, classes = np.asarray(labels, np.int64), np.asarray(classes, np.int64)
    pairs, counts = np.unique(labels * (classes.max(initial=0) + 1) + classes, return_counts=True)
    largest, sizes = np.zeros(num_clusters), np.bincount(labels, minlength=num_clusters)
    np.maximum.at(largest, pairs // (classes.max(initial=0) + 1), counts)
    return np.where(sizes > 0, largest / np.maximum(sizes, 1), np.nan)


def purity(labels: npt.ArrayLike, classes: npt.ArrayLike) -> float:
    """Returns the share of examples that have the commonest class of their cluster, in [0, 1].

    Args:
      labels: [N] int, clusters, at least 0.
      classes: [N] int, at least 0.

    >>> purity([0, 0, 1, 1], [7, 7, 7, 5])
    0.75
    """
    labels = np.asarray(labels, np.int64)
    sizes = np.bincount(labels)
    return float(np.nansum(cluster_purities(labels, classes, len(sizes)) * sizes) / len(labels))


def size_entropy(sizes: npt.ArrayLike) -> float:
    """Returns the entropy of cluster sizes in nats.

    It is log K when all are equal, and 0 when all examples are in one cluster.

    Args:
      sizes: [K] numbers of examples.

    >>> round(size_entropy([5, 5, 0]), 4)
    0.6931
    """
    sizes = np.asarray(sizes, np.float64)
    shares = sizes[sizes > 0] / sizes.sum()
    return float(-np.sum(shares * np.log(shares)))

"""How clusters agree with classes, and how even they are."""

import numpy as np


def normalized_mutual_information(labels, classes) -> float:
    """Mutual information over the arithmetic mean of the entropies, in [0, 1] (scikit-learn's
    default).

    Args:
      labels: [N] int, clusters.
      classes: [N] int, ground truth.
    """
    from sklearn.metrics import normalized_mutual_info_score

    return float(normalized_mutual_info_score(classes, labels))


def adjusted_rand_index(labels, classes) -> float:
    """Agreement on pairs, corrected for chance: 1 for equal partitions, about 0 for independent
    ones. Arguments as above.
    """
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(classes, labels))


def cluster_purities(labels, classes, num_clusters: int) -> np.ndarray:
    """Returns the share of each cluster's commonest class, [K] float64 in [0, 1]; NaN for an empty
    cluster.

    Args:
      labels: [N] int in [0, K).
      classes: [N] int, at least 0.
      num_clusters: K.
    """
    labels, classes = np.asarray(labels, np.int64), np.asarray(classes, np.int64)
    pairs, counts = np.unique(labels * (classes.max(initial=0) + 1) + classes, return_counts=True)
    largest, sizes = np.zeros(num_clusters), np.bincount(labels, minlength=num_clusters)
    np.maximum.at(largest, pairs // (classes.max(initial=0) + 1), counts)
    return np.where(sizes > 0, largest / np.maximum(sizes, 1), np.nan)


def purity(labels, classes) -> float:
    """Share of the examples that belong to the commonest class of their cluster, in [0, 1].
    Arguments as above.
    """
    labels = np.asarray(labels, np.int64)
    sizes = np.bincount(labels)
    return float(np.nansum(cluster_purities(labels, classes, len(sizes)) * sizes) / len(labels))


def size_entropy(sizes) -> float:
    """Entropy of the cluster sizes in nats: log K when all are equal, 0 when one holds everything.
    Args: sizes: [K] counts.
    """
    sizes = np.asarray(sizes, np.float64)
    shares = sizes[sizes > 0] / sizes.sum()
    return float(-np.sum(shares * np.log(shares)))

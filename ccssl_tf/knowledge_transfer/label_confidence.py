"""How sure the pseudo-labels are: soft labels over the nearest clusters, and images left out.

The paper learns hard labels, the nearest centroid of every image. Two things more can be asked for.
What they take is in the directory of the pseudo-labels: the n nearest centroids of every image and
the distances d_1 <= ... <= d_n to them (`ccssl_tf.cluster --num_nearest=n`).

--label_temperature=T > 0 learns soft labels. The loss of an image is the mean of the
cross-entropies with its n nearest clusters, weighted by

    p_j = exp(-d_j^2 / (T s)) / (sum over i = 1..n of exp(-d_i^2 / (T s))),
    s = mean over all training images of d_1^2.

So T has no unit: at T = 1 a cluster is less likely than another by a factor e where its squared
distance is larger by the mean squared distance of an image to its nearest centroid. T -> 0 gives
hard labels, and T = 0 is these. What is evaluated is always the hard label.

--min_margin=M trains on those images alone whose margin d_2 - d_1, as clusters.csv lists it in the
unit of the features, is at least M; the others come in no epoch.
"""

import numpy as np

from ccssl_tf.clustering import pseudo_labels
from ccssl_tf.clustering.pseudo_labels import PseudoLabels
from ccssl_tf.runs.errors import InputError


def has_margin(train: PseudoLabels, least: float, directory: str) -> np.ndarray:
    """Returns which training images have a margin of at least `least`, [N] bool; 0: all.

    Args:
      train: of all training images.
      least: M.
      directory: where they were read, for messages.

    Raises:
      InputError: no image has such a margin, or the distances it takes were not kept.
    """
    if not least:
        return np.ones(len(train.labels), bool)
    margins = pseudo_labels.margins(_distances(train, "min_margin", directory))
    is_kept = margins >= least
    if not is_kept.any():
        raise InputError(
            f"--min_margin={least:g}: no training image has such a margin in {directory}, the "
            f"largest is {margins.max():.6g}; lower it"
        )
    return is_kept


def soft_labels(train: PseudoLabels, temperature: float, directory: str) -> np.ndarray:
    """Returns the probabilities of the clusters `train.nearest`, [N, n] float32: see the module.

    Args:
      train: of all training images.
      temperature: T, more than 0.
      directory: where they were read, for messages.

    Raises:
      InputError: the distances it takes were not kept, or all to the nearest centroids are 0.
    """
    squares = np.square(_distances(train, "label_temperature", directory), dtype=np.float64)
    scale = squares[:, 0].mean()
    if not scale:
        raise InputError(
            f"--label_temperature={temperature:g}: every training image lies on its centroid in "
            f"{directory}, which gives no unit of distance; leave it out"
        )
    with np.errstate(over="ignore"):  # An exponent of minus infinity has the right power.
        powers = np.exp((squares[:, :1] - squares) / scale / temperature)
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def _distances(train: PseudoLabels, flag: str, directory: str) -> np.ndarray:
    """Returns the distances of the training images to their nearest centroids, [N, n], n > 1."""
    distances = train.nearest_distances
    if distances is None or distances.shape[1] < 2:
        raise InputError(
            f"--{flag}: {directory} holds the distances to the nearest centroids alone; cluster "
            "again with --num_nearest=5"
        )
    return distances

"""How often each image comes in an epoch in which every cluster (or class) is to be seen equally
often.

DeepCluster (Caron et al. 2018) draws clusters uniformly, then images of the cluster, N draws an
epoch (`UnifLabelSampler`). Its sampler holds the whole epoch as a list of images in random order,
which shards that are read in sequence cannot follow. Here the same draws are a number of copies of
each image: an image that is left out costs its reading, one that comes several times is read once.
"""

import numpy as np

from ccssl_tf.data.pipeline import Epoch


def balanced_copies(labels: np.ndarray, epoch: Epoch) -> np.ndarray:
    """Draws the copies of each image in one epoch: a pure function of labels, seed and epoch.

    Of the N draws every non-empty cluster gets floor(N / clusters) or, chosen at random, one more;
    they go round its images, in random order, until they are used up. So clusters differ by at most
    one draw and the images of a cluster by at most one, the epoch has exactly N draws, and an image
    of a cluster of n images is expected N / (clusters * n) times.

    Args:
      labels: [N] int, non-negative, by image index.
      epoch: which one; only its seed and number matter.

    Returns:
      [N] int32, of sum N.
    """
    # The third word keeps these draws apart from the permutation of the shards, which starts from
    # (seed, epoch) too.
    random = np.random.default_rng([epoch.seed, epoch.number, 1])
    total, sizes = len(labels), np.bincount(labels)
    clusters = np.flatnonzero(sizes)
    draws = np.zeros(len(sizes), np.int64)
    draws[clusters] = total // len(clusters)
    draws[random.permutation(clusters)[: total % len(clusters)]] += 1
    order = np.lexsort((random.random(total), labels))
    place = np.empty(total, np.int64)
    place[order] = np.arange(total) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    rounds, rest = np.divmod(draws[labels], sizes[labels])
    return (rounds + (place < rest)).astype(np.int32)

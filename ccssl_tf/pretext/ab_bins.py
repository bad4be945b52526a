"""Colours as classes (Zhang et al. 2016, section 2).

The quantised ab plane, soft encoding, class rebalancing and decoding.
"""

import functools

import keras
import numpy as np
import tensorflow as tf
from scipy.spatial import cKDTree

from ccssl_tf.data import image_batches
from ccssl_tf.ops import color

GRID = 10
NUM_BINS = 313
NUM_NEIGHBOURS, NEIGHBOUR_SIGMA = 5, 5.0
# Of the softmax before its mean is taken (section 2.3).
TEMPERATURE = 0.38
# A picture whose colours are all this close to grey says nothing of colour, and is not learned from
# (released training code).
GRAY_RADIUS = 5.0
# Images the empirical distribution is measured on.
MAX_COUNTED_IMAGES = 4096


@functools.cache
def bin_centers() -> np.ndarray:
    """Returns the 313 bins, [313, 2] float32.

    They are the points (a, b) of a grid of 10 that are nearest to the colours a screen shows.
    Nearest in the larger of the distances along a and b. The first 309 are the corners of all the
    10 x 10 cells that sRGB reaches (every one of them is in the published table `pts_in_hull`); the
    last four are just outside, as are the published table's, one of them the same. The extreme
    colours lie on the faces of the RGB cube, which are walked in all 256 levels. Ordered by a, then
    b.
    """
    level = np.arange(256)
    plane = np.stack(np.meshgrid(level, level), -1).reshape(-1, 2)
    faces = np.concatenate(
        [np.insert(plane, axis, value, 1) for axis in range(3) for value in (0, 255)]
    )
    with tf.init_scope():
        ab = keras.ops.convert_to_numpy(color.rgb_to_lab(faces))[:, 1:].astype(np.float64)
    side = np.arange(-12, 13) * GRID
    points = np.stack(np.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2)
    distances, _ = cKDTree(ab).query(points, p=np.inf)
    nearest = np.sort(np.argsort(distances)[:NUM_BINS])
    return points[nearest].astype(np.float32)


def _squared_distances(ab):
    """[..., 2] -> [..., 313]: squared distances to the bins, of whole numbers exactly."""
    centers = bin_centers()
    return sum(tf.square(ab[..., None, axis] - centers[:, axis]) for axis in range(2))


def nearest_bins(ab):
    """Maps colours [..., 2] float32 to the index of the nearest bin, [...] int32.

    Of equally near ones it is the first.
    """
    return tf.argmin(_squared_distances(ab), -1, tf.int32)


def soft_encode(ab):
    """Maps colours [..., 2] float32 to distributions over the bins, [..., 313] float32.

    Each is over the 5 nearest bins: Gaussian weights, sigma 5.
    """
    negative, index = tf.math.top_k(-_squared_distances(ab), NUM_NEIGHBOURS)
    weights = tf.nn.softmax(negative / (2 * NEIGHBOUR_SIGMA**2))
    # One neighbour at a time: the neighbours' one-hot rows side by side would be five times this
    # tensor.
    return sum(
        tf.one_hot(index[..., k], NUM_BINS) * weights[..., k, None] for k in range(NUM_NEIGHBOURS)
    )


def decode(logits):
    """Maps logits [..., 313] to colours [..., 2] by the annealed mean.

    That is the mean of the distribution sharpened by the temperature 0.38.
    """
    return tf.matmul(
        tf.nn.softmax(tf.cast(logits, tf.float32) / TEMPERATURE), tf.constant(bin_centers())
    )


def class_weights(shares, rebalancing: float) -> np.ndarray:
    """Returns the weight of each colour in the loss (section 2.2, equation 4).

    It is 1 / ((1 - lambda) p + lambda / Q), p the smoothed shares.

    Args:
      shares: [313], of the colours in images, summing to 1; their mean weight is 1.
      rebalancing: lambda in (0, 1]; 0.5 in the paper, 1 weighs all colours alike.

    Returns:
      [313] float32.
    """
    weights = 1 / ((1 - rebalancing) * smooth(shares) + rebalancing / NUM_BINS)
    return (weights / np.sum(shares * weights)).astype(np.float32)


def smooth(distribution) -> np.ndarray:
    """Blurs a distribution [313] over the ab plane; it sums to 1 again.

    The kernel is a Gaussian of sigma 5 cut to the bins.
    """
    centers = bin_centers().astype(np.float64)
    kernel = np.exp(-np.square(centers[:, None] - centers).sum(-1) / (2 * NEIGHBOUR_SIGMA**2))
    return (distribution / kernel.sum(0)) @ kernel.T


def empirical_distribution(data_dir, image_size: int, classes, num_classes: int) -> np.ndarray:
    """Returns the share of each class in training images, [num_classes] float64.

    It is measured on up to 4096 images of the first shards. Shards are random samples of the set,
    so these images are; a set of millions needs no more (a million cells of the maps).

    Args:
      data_dir: image shards.
      image_size: S, pixels.
      classes: maps images [b, S, S, 3] uint8 to class numbers of cells [b, h, w].
      num_classes: Q.
    """
    counts, seen = np.zeros(num_classes), 0
    count = tf.function(
        lambda image: tf.math.bincount(tf.reshape(classes(image), [-1]), minlength=num_classes),
        autograph=False,
    )
    for batch in image_batches.evaluation_images(
        data_dir, "train", image_size=image_size, batch_size=64
    ):
        counts += count(batch["image"]).numpy()
        seen += len(batch["image"])
        if seen >= MAX_COUNTED_IMAGES:
            break
    return counts / counts.sum()

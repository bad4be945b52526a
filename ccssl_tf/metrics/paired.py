"""Two networks compared on the same held-out images, over several seeds.

Networks that are trained on the same data and tested on the same images err on many of the same
images; compared image by image a difference shows that two separate standard errors would hide.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats


@dataclasses.dataclass(frozen=True)
class Difference:
    """The difference of two accuracies.

    Attributes:
      mean: of the first less the second, in [-1, 1].
      low, high: ends of the 95% interval of the bootstrap.
      p: share of the bootstrap on the other side of 0 than the mean, twice, at most 1; at least
        2 / (rounds + 1).
    """

    mean: float
    low: float
    high: float
    p: float


def pooled_deviation(*groups: Sequence[float]) -> float:
    """Returns the pooled standard deviation of groups of measurements.

    Each group's squared deviations are from its own mean, with one degree of freedom less than
    measurements.

    Args:
      *groups: measurements of one network each, over seeds.

    Returns:
      The deviation, NaN where no group has two measurements.

    >>> from ccssl_tf.metrics.paired import pooled_deviation
    >>> pooled_deviation([1.0, 3.0], [5.0, 5.0])
    1.0
    """
    squares = sum(float(np.sum((np.asarray(g) - np.mean(g)) ** 2)) for g in groups if len(g))
    freedom = sum(max(len(g) - 1, 0) for g in groups)
    return float(np.sqrt(squares / freedom)) if freedom else float("nan")


def standard_error_over_images(correct: npt.ArrayLike) -> float:
    """Returns the standard error of an accuracy that other images of the same kind would give.

    That is the bootstrap over images in closed form: the standard deviation of the mean of N images
    drawn with replacement, where an image's value is its mean over the seeds.

    Args:
      correct: [seeds, N] or [N] bool, whether an image's answer is right.

    Raises:
      ValueError: there is no image.

    >>> from ccssl_tf.metrics.paired import standard_error_over_images
    >>> standard_error_over_images([True, True, False, False])
    0.25
    """
    values = np.atleast_2d(np.asarray(correct, np.float64)).mean(0)
    if not values.size:
        raise ValueError("a standard error needs at least one image")
    return float(values.std() / np.sqrt(values.size))


def binomial_standard_error(accuracy: float, count: int) -> float:
    """Returns the standard error of an accuracy of independent images, of which only the number is
    known.

    Args:
      accuracy: in [0, 1].
      count: number of images.

    Raises:
      ValueError: the accuracy is no share, or there is no image.

    >>> from ccssl_tf.metrics.paired import binomial_standard_error
    >>> binomial_standard_error(0.5, 2500)
    0.01
    """
    if not 0 <= accuracy <= 1 or count < 1:
        raise ValueError(f"expected an accuracy in [0, 1] of images, not {accuracy} of {count}")
    return float(np.sqrt(accuracy * (1 - accuracy) / count))


def bootstrap_difference(
    first: np.ndarray, second: np.ndarray, *, rounds: int = 2000, seed: int = 0
) -> Difference:
    """Returns the difference of two networks' accuracies, bootstrapped over images and seeds.

    Every round draws the images with replacement, the same ones for both networks, and the seeds of
    each network with replacement. Of two or three seeds the interval is too narrow: it is of these
    seeds' spread, which so few show too small.

    Args:
      first: [S1, N] bool, whether image n is answered rightly by the network of a seed.
      second: [S2, N] bool, of the same images.
      rounds: of the bootstrap.
      seed: of the bootstrap.

    Raises:
      ValueError: other shapes, or no image.

    >>> from ccssl_tf.metrics.paired import bootstrap_difference
    >>> bootstrap_difference(np.ones([3, 50], bool), np.zeros([3, 50], bool)).mean
    1.0
    """
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(f"expected [seeds, images] twice, not {first.shape} and {second.shape}")
    if not first.size or not second.size:
        raise ValueError(f"expected at least one image, not {first.shape} and {second.shape}")
    rng, num_images = np.random.default_rng(seed), first.shape[1]
    # Images that the same networks answer rightly are alike, and there are few such kinds of them:
    # drawing how often each kind comes is drawing the images, only faster.
    kinds, counts = np.unique(np.concatenate([first, second]), axis=1, return_counts=True)
    images = rng.multinomial(num_images, counts / num_images, size=rounds)
    totals = []
    for rows in (kinds[: len(first)], kinds[len(first) :]):
        seeds = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=rounds)
        # Whole numbers, so that equal accuracies differ by exactly 0.
        totals.append(((seeds @ rows.astype(np.int64)) * images).sum(1))
    difference = totals[0] * len(second) - totals[1] * len(first)
    drawn = difference / (len(first) * len(second) * num_images)
    low, high = np.quantile(drawn, [0.025, 0.975])
    mean = float(first.mean() - second.mean())
    beyond = (drawn <= 0).sum() if mean > 0 else (drawn >= 0).sum()
    p = min(1.0, 2 * (float(beyond) + 1) / (rounds + 1))
    return Difference(mean, float(low), float(high), p)


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the two-sided p of the exact McNemar test.

    Of the images that one network alone answers rightly, each should be as often the one's as the
    other's.

    Args:
      first: [N] bool, whether each image is answered rightly.
      second: [N] bool, of the same images.

    >>> from ccssl_tf.metrics.paired import mcnemar
    >>> mcnemar(np.array([True, True, False]), np.array([True, False, True]))
    1.0
    """
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    alone, other_alone = int((first & ~second).sum()), int((second & ~first).sum())
    if not alone + other_alone:
        return 1.0
    return float(stats.binomtest(alone, alone + other_alone, 0.5).pvalue)

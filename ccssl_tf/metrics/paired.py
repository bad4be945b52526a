"""Two networks compared on the same held-out images, over several seeds.

Networks that are trained on the same data and tested on the same images err on many of the same
images; compared image by image a difference shows that two separate standard errors would hide.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
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


def bootstrap_difference(
    first: np.ndarray, second: np.ndarray, *, rounds: int = 2000, seed: int = 0
) -> Difference:
    """Returns the difference of two networks' accuracies, bootstrapped over images and seeds.

    Every round draws the images with replacement, the same ones for both networks, and the seeds of
    each network with replacement.

    Args:
      first: [S1, N] bool, whether image n is answered rightly by the network of a seed.
      second: [S2, N] bool, of the same images.
      rounds: of the bootstrap.
      seed: of the bootstrap.

    Raises:
      ValueError: other shapes.

    >>> from ccssl_tf.metrics.paired import bootstrap_difference
    >>> bootstrap_difference(np.ones([3, 50], bool), np.zeros([3, 50], bool)).mean
    1.0
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(f"expected [seeds, images] twice, not {first.shape} and {second.shape}")
    rng, num_images = np.random.default_rng(seed), first.shape[1]
    drawn = np.empty(rounds)
    for number in range(rounds):
        images = np.bincount(rng.integers(num_images, size=num_images), minlength=num_images)
        means = [
            (one @ images / num_images)[rng.integers(len(one), size=len(one))].mean()
            for one in (first, second)
        ]
        drawn[number] = means[0] - means[1]
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

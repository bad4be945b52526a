"""Whether two networks differ: spread over seeds, and paired tests over the same images.

What is compared are answers, right or wrong, to the same held-out images. Images that both networks
get right, or both wrong, say nothing of a difference, so pairing them tells much smaller
differences than two standard errors do.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_DEFAULT_RESAMPLES = 10_000
# So many numbers of resampled weights are held in memory at a time.
_BLOCK = 4_000_000


class Difference(NamedTuple):
    """A difference of two accuracies, with a 95% interval.

    Attributes:
      mean: accuracy of the first network less that of the second, in [-1, 1].
      low, high: ends of the interval that holds 95% of the resampled differences.
      p: two-sided p-value, in (0, 1]: how often a resampled difference has the other sign, twice.
    """

    mean: float
    low: float
    high: float
    p: float


class Disagreement(NamedTuple):
    """On how many images only one of two networks is right.

    Attributes:
      only_first, only_second: numbers of images.
      p: two-sided p-value of McNemar's exact test, in (0, 1].
    """

    only_first: int
    only_second: int
    p: float


def pooled_standard_deviation(*groups: npt.ArrayLike) -> float:
    """Returns the standard deviation over seeds that several networks have in common.

    It is the root of the sample variances' mean, weighted by the degrees of freedom: sum of squared
    deviations from each group's own mean, over the number of values less the number of groups.

    Args:
      *groups: [n] float each, one value a seed; a group of one value adds nothing.

    Raises:
      ValueError: no group has two values, so that no spread is known.

    >>> round(pooled_standard_deviation([0.30, 0.32], [0.5, 0.5, 0.5]), 6)
    0.008165
    """
    squares, freedom = 0.0, 0
    for group in groups:
        values = np.asarray(group, np.float64)
        squares += float(np.square(values - values.mean()).sum()) if values.size else 0.0
        freedom += max(values.size - 1, 0)
    if not freedom:
        raise ValueError("a spread over seeds needs a network with at least two seeds")
    return float(np.sqrt(squares / freedom))


def standard_error_over_images(correct: npt.ArrayLike) -> float:
    """Returns the standard error of an accuracy that other images of the same kind would give.

    That is the bootstrap over images in closed form: the standard deviation of the mean of N images
    drawn with replacement, where an image's value is its mean over the seeds.

    Args:
      correct: [seeds, N] or [N] bool, whether an image's answer is right.

    Raises:
      ValueError: there is no image.

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

    >>> binomial_standard_error(0.5, 2500)
    0.01
    """
    if not 0 <= accuracy <= 1 or count < 1:
        raise ValueError(f"expected an accuracy in [0, 1] of images, not {accuracy} of {count}")
    return float(np.sqrt(accuracy * (1 - accuracy) / count))


def paired_bootstrap(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    num_resamples: int = _DEFAULT_RESAMPLES,
    seed: int = 0,
) -> Difference:
    """Returns the difference of two networks' accuracies, resampled over images and seeds.

    A resample draws images and seeds with replacement, the same for both networks. Seeds are few,
    so the interval of two or three is too narrow; it says how far images and these seeds go.

    Args:
      first, second: [seeds, N] bool (or [N], one seed), whether an answer is right; rows of the
        same seed and columns of the same image stand at the same place.
      num_resamples: how many resamples are drawn.
      seed: of the drawing.

    Raises:
      ValueError: the shapes differ, there is nothing in them, or no resample is asked for.

    >>> paired_bootstrap([True] * 9 + [False], [True] * 9 + [False]).mean
    0.0
    """
    right, others = _paired(first, second)
    if num_resamples < 1:
        raise ValueError(f"num_resamples must be 1 or more, not {num_resamples}")
    differences = right.astype(np.int8) - others.astype(np.int8)
    # Images on which the seeds differ in the same way are alike, so it is enough to draw how often
    # each way comes; there are few of them.
    ways, counts = np.unique(differences, axis=1, return_counts=True)
    num_seeds, num_images = differences.shape
    random = np.random.default_rng(seed)
    means = np.empty(num_resamples)
    block = max(1, _BLOCK // (ways.shape[1] + num_seeds))
    for start in range(0, num_resamples, block):
        size = min(block, num_resamples - start)
        images = random.multinomial(num_images, counts / num_images, size=size)
        seeds = random.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=size)
        # Whole numbers: their sums are exact, so that a difference of 0 is one.
        totals = ((seeds @ ways.astype(np.int64)) * images).sum(1)
        means[start : start + size] = totals / (num_seeds * num_images)
    low, high = np.quantile(means, [0.025, 0.975])
    beyond = min(np.count_nonzero(means <= 0), np.count_nonzero(means >= 0))
    p = min(1.0, 2 * (beyond + 1) / (num_resamples + 1))
    return Difference(float(differences.mean(dtype=np.float64)), float(low), float(high), p)


def mcnemar(first: npt.ArrayLike, second: npt.ArrayLike) -> Disagreement:
    """Returns McNemar's exact test of whether two networks are right equally often.

    Under the null hypothesis an image that only one gets right is as likely to be either's.

    Args:
      first, second: [N] bool, whether the answers of one seed to the same images are right.

    Raises:
      ValueError: the shapes differ, are not [N], or there is nothing in them.

    >>> mcnemar([True, True, True, False], [False, False, True, True])
    Disagreement(only_first=2, only_second=1, p=1.0)
    """
    from scipy import stats

    if np.ndim(first) != 1:
        raise ValueError(f"expected the answers of one seed, [N], not {np.shape(first)}")
    right, others = _paired(first, second)
    only_first = int(np.count_nonzero(right & ~others))
    only_second = int(np.count_nonzero(others & ~right))
    decided = only_first + only_second
    p = float(stats.binomtest(only_first, decided).pvalue) if decided else 1.0
    return Disagreement(only_first, only_second, p)


def _paired(first, second) -> tuple[np.ndarray, np.ndarray]:
    """Returns both as [seeds, N] bool; raises ValueError where they are not of the same images."""
    arrays = [np.atleast_2d(np.asarray(array, bool)) for array in (first, second)]
    shapes = [array.shape for array in arrays]
    if shapes[0] != shapes[1] or len(shapes[0]) != 2 or not arrays[0].size:
        raise ValueError(
            f"expected answers to the same images, [seeds, N] twice, not {shapes[0]} and "
            f"{shapes[1]}"
        )
    return arrays[0], arrays[1]

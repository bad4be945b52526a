"""Spread over seeds and paired tests agree with plain computations of the same numbers."""

import fractions
import math
import statistics

import numpy as np
import pytest
from scipy import stats

from ccssl_tf.metrics import paired


def answers(seed, num_seeds=3, num_images=400, accuracies=(0.40, 0.34)):
    """Two networks' answers [seeds, N]; half of the images are equally hard for both."""
    random = np.random.default_rng(seed)
    hard = random.uniform(size=num_images)
    noise = random.uniform(-0.1, 0.1, (2, num_seeds, num_images))
    return [hard + noise[i] < accuracy for i, accuracy in enumerate(accuracies)]


def test_spread_is_pooled_over_the_degrees_of_freedom():
    first, second = [0.31, 0.35, 0.30], [0.5, 0.52]
    variances = statistics.variance(first), statistics.variance(second)
    expected = math.sqrt((2 * variances[0] + 1 * variances[1]) / 3)
    assert paired.pooled_standard_deviation(first, second) == pytest.approx(expected, rel=1e-12)
    assert paired.pooled_standard_deviation(first, [0.9]) == pytest.approx(
        statistics.stdev(first), rel=1e-12
    )
    assert paired.pooled_standard_deviation([0.2, 0.2], [0.7, 0.7]) == 0


def test_one_seed_has_no_spread():
    with pytest.raises(ValueError, match="at least two seeds"):
        paired.pooled_standard_deviation([0.3], [0.4])


def test_standard_errors_over_images():
    correct = answers(0)[0]
    by_scipy = stats.bootstrap(
        (correct.mean(0),), np.mean, n_resamples=4000, random_state=1, method="percentile"
    )
    ours = paired.standard_error_over_images(correct)
    assert ours == pytest.approx(by_scipy.standard_error, rel=0.05)
    # Of one seed it is the binomial one.
    share = correct[0].mean()
    assert paired.standard_error_over_images(correct[0]) == pytest.approx(
        paired.binomial_standard_error(share, correct.shape[1]), rel=1e-12
    )
    assert paired.binomial_standard_error(0, 10) == 0
    for accuracy, count in ((1.2, 10), (0.5, 0), (float("nan"), 10)):
        with pytest.raises(ValueError):
            paired.binomial_standard_error(accuracy, count)
    with pytest.raises(ValueError):
        paired.standard_error_over_images([])


@pytest.mark.parametrize("num_seeds", [1, 2, 5])
def test_bootstrap_is_that_of_drawing_images_and_seeds_one_by_one(num_seeds):
    first, second = answers(3, num_seeds)
    found = paired.paired_bootstrap(first, second, num_resamples=8000)
    random, means = np.random.default_rng(17), []
    for _ in range(8000):
        images = random.integers(0, first.shape[1], first.shape[1])
        seeds = random.integers(0, num_seeds, num_seeds)
        means.append(first[seeds][:, images].mean() - second[seeds][:, images].mean())
    assert found.mean == pytest.approx(first.mean() - second.mean(), abs=1e-12)
    low, high = np.quantile(means, [0.025, 0.975])
    # The ends of two such bootstraps differ by about 0.02 standard deviations.
    tolerance = 0.15 * np.std(means)
    assert found.low == pytest.approx(low, abs=tolerance)
    assert found.high == pytest.approx(high, abs=tolerance)
    expected = 2 * min(np.mean(np.array(means) <= 0), np.mean(np.array(means) >= 0))
    assert found.p == pytest.approx(expected, abs=0.01 + 0.25 * expected)


def test_one_seed_agrees_with_scipy():
    first, second = (array[0] for array in answers(4, 1))
    differences = first.astype(float) - second
    theirs = stats.bootstrap(
        (differences,), np.mean, n_resamples=8000, method="percentile", random_state=2
    ).confidence_interval
    ours = paired.paired_bootstrap(first, second)
    assert ours.low == pytest.approx(theirs.low, abs=0.004)
    assert ours.high == pytest.approx(theirs.high, abs=0.004)


def test_the_sides_may_be_exchanged_and_equal_ones_do_not_differ():
    first, second = answers(5)
    there = paired.paired_bootstrap(first, second)
    back = paired.paired_bootstrap(second, first)
    assert there.mean == -back.mean and there == paired.paired_bootstrap(first, second)
    assert there.low == pytest.approx(-back.high, abs=0.004)
    assert paired.paired_bootstrap(first, first) == (0, 0, 0, 1)


def test_a_sure_difference_has_the_smallest_p():
    right, wrong = np.ones((2, 50), bool), np.zeros((2, 50), bool)
    found = paired.paired_bootstrap(right, wrong, num_resamples=999)
    assert found[:3] == (1, 1, 1) and found.p == pytest.approx(2 / 1000)


def test_the_resamples_do_not_depend_on_the_blocks(monkeypatch):
    first, second = answers(6)
    monkeypatch.setattr(paired, "_BLOCK", 1000)
    found = paired.paired_bootstrap(first, second, num_resamples=500)
    assert found.low < found.mean < found.high


@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (7, 2), (2, 7), (30, 30), (40, 18)])
def test_mcnemar_is_exact(counts):
    only_first, only_second = counts
    first = np.repeat([True, False, True, False], [only_first, only_second, 20, 5])
    second = np.repeat([False, True, True, False], [only_first, only_second, 20, 5])
    decided = sum(counts)
    tail = sum(math.comb(decided, k) for k in range(min(counts) + 1))
    expected = min(fractions.Fraction(1), fractions.Fraction(2 * tail, 2**decided))
    found = paired.mcnemar(first, second)
    assert found[:2] == counts
    assert found.p == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize(
    ("first", "second"),
    [([True], [True, False]), ([[True]], [[True], [False]]), ([], []), ([[[True]]], [[[True]]])],
)
def test_answers_to_other_images_are_refused(first, second):
    with pytest.raises(ValueError, match="expected"):
        paired.paired_bootstrap(first, second)
    with pytest.raises(ValueError, match="expected"):
        paired.mcnemar(first, second)
    with pytest.raises(ValueError, match="num_resamples"):
        paired.paired_bootstrap([True], [True], num_resamples=0)

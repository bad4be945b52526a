"""Comparisons of two networks on the same images, held against other ways to compute them."""

import math

import numpy as np
import pytest
from scipy import stats

from ccssl_tf.metrics import paired
from ccssl_tf.metrics.paired import bootstrap_difference, mcnemar, pooled_deviation


def answers(seed, num_seeds=3, num_images=400, accuracies=(0.40, 0.34)):
    """Two networks' answers [seeds, N]; half of the images are equally hard for both."""
    random = np.random.default_rng(seed)
    hard = random.uniform(size=num_images)
    noise = random.uniform(-0.1, 0.1, (2, num_seeds, num_images))
    return [hard + noise[i] < accuracy for i, accuracy in enumerate(accuracies)]


def test_the_pooled_deviation_is_that_of_a_t_test():
    first, second = [30.1, 31.0, 29.5], [28.0, 28.4, 27.1, 27.7]
    t = stats.ttest_ind(first, second).statistic
    expected = (np.mean(first) - np.mean(second)) / (t * math.sqrt(1 / 3 + 1 / 4))
    assert pooled_deviation(first, second) == pytest.approx(expected)
    assert math.isnan(pooled_deviation([1.0], [2.0]))


def test_mcnemar_is_the_binomial_test():
    first = np.array([1] * 50 + [1] * 12 + [0] * 3 + [0] * 35, bool)
    second = np.array([1] * 50 + [0] * 12 + [1] * 3 + [0] * 35, bool)
    tail = sum(math.comb(15, k) for k in range(4)) / 2**15
    assert mcnemar(first, second) == pytest.approx(2 * tail)
    assert mcnemar(second, first) == pytest.approx(2 * tail)
    assert mcnemar(first, first) == 1.0


def test_the_interval_is_that_of_a_normal_distribution_where_images_are_many():
    rng = np.random.default_rng(0)
    ease = rng.random(4000)
    first, second = (rng.random([1, 4000]) < ease + lift for lift in (0.05, 0.0))
    difference = bootstrap_difference(first, second)
    paired = first[0].astype(float) - second[0]
    error = paired.std(ddof=1) / math.sqrt(4000)
    assert difference.mean == pytest.approx(paired.mean())
    assert difference.low == pytest.approx(paired.mean() - 1.96 * error, abs=0.2 * error)
    assert difference.high == pytest.approx(paired.mean() + 1.96 * error, abs=0.2 * error)
    expected = 2 * stats.norm.sf(paired.mean() / error)
    assert difference.p == pytest.approx(expected, abs=0.003)


def test_seeds_that_disagree_widen_the_interval():
    rng = np.random.default_rng(1)
    second = rng.random([3, 2000]) < 0.3
    alike = np.stack([rng.random(2000) < share for share in (0.35, 0.35, 0.35)])
    apart = np.stack([rng.random(2000) < share for share in (0.25, 0.35, 0.45)])
    narrow, wide = bootstrap_difference(alike, second), bootstrap_difference(apart, second)
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
    assert narrow.p < 0.01 < wide.p
    assert bootstrap_difference(alike, alike).mean == 0.0


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="seeds, images"):
        bootstrap_difference(np.zeros([2, 5]), np.zeros([2, 4]))
    with pytest.raises(ValueError, match="at least one image"):
        bootstrap_difference(np.zeros([2, 0]), np.zeros([2, 0]))


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


@pytest.mark.parametrize("num_seeds", [(1, 1), (2, 2), (5, 3)])
def test_the_bootstrap_is_that_of_drawing_images_and_seeds_one_by_one(num_seeds):
    first, second = answers(3, max(num_seeds))
    first, second = first[: num_seeds[0]], second[: num_seeds[1]]
    found = bootstrap_difference(first, second, rounds=8000)
    rng, drawn = np.random.default_rng(17), []
    for _ in range(8000):
        images = rng.integers(0, first.shape[1], first.shape[1])
        means = [
            one[rng.integers(0, len(one), len(one))][:, images].mean() for one in (first, second)
        ]
        drawn.append(means[0] - means[1])
    assert found.mean == pytest.approx(first.mean() - second.mean(), abs=1e-12)
    low, high = np.quantile(drawn, [0.025, 0.975])
    # The ends of two such bootstraps differ by about 0.04 standard deviations.
    tolerance = 0.2 * np.std(drawn)
    assert found.low == pytest.approx(low, abs=tolerance)
    assert found.high == pytest.approx(high, abs=tolerance)
    expected = 2 * np.mean(np.array(drawn) <= 0)
    assert found.p == pytest.approx(expected, abs=0.01 + 0.25 * expected)


def test_one_network_of_one_seed_does_not_differ_from_itself():
    first = answers(5, 1)[0]
    found = bootstrap_difference(first, first)
    assert (found.mean, found.low, found.high, found.p) == (0, 0, 0, 1)

"""Comparisons of two networks on the same images, held against other ways to compute them."""

import math

import numpy as np
import pytest
from scipy import stats

from ccssl_tf.metrics.paired import bootstrap_difference, mcnemar, pooled_deviation


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

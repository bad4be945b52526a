"""Colour saturation of filters: of grey ones none, of random ones two thirds."""

import numpy as np
import pytest

from ccssl_tf.metrics.filter_colour import colour_saturation


def test_grey_random_and_opposed_filters():
    random = np.random.default_rng(0)
    grey = random.normal(size=(11, 11, 1, 96)).repeat(3, 2)
    assert colour_saturation(grey) == pytest.approx(0, abs=1e-12)
    assert colour_saturation(random.normal(size=(11, 11, 3, 96))) == pytest.approx(2 / 3, abs=0.01)
    assert colour_saturation([[[[1.0], [-1.0], [0.0]]]]) == pytest.approx(1)


def test_it_is_the_variance_over_the_channels_of_the_whole():
    kernel = np.random.default_rng(1).normal(0.3, 1, (5, 5, 3, 7))
    expected = kernel.var(2).sum() / (kernel**2).mean(2).sum()
    assert colour_saturation(kernel) == pytest.approx(expected, rel=1e-12)
    assert colour_saturation(-4 * kernel) == pytest.approx(expected, rel=1e-12)


def test_dead_filters_count_little():
    random = np.random.default_rng(2)
    grey = random.normal(size=(3, 3, 1, 8)).repeat(3, 2)
    dead = 1e-3 * random.normal(size=(3, 3, 3, 8))
    assert colour_saturation(np.concatenate([grey, dead], 3)) < 1e-5


@pytest.mark.parametrize("kernel", [np.ones([3, 3, 1, 4]), np.ones([3, 3]), np.zeros([3, 3, 3, 4])])
def test_what_has_no_colour_to_measure_is_refused(kernel):
    with pytest.raises(ValueError):
        colour_saturation(kernel)
    with pytest.raises(ValueError, match="finite"):
        colour_saturation(np.full([3, 3, 3, 4], np.nan))

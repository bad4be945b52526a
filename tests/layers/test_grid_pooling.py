"""Pooling to a grid against loops, with the windows that published protocols use."""

import numpy as np
import pytest

from ccssl_tf.layers.grid_pooling import grid_pool


def loops(x, grid, window, stride, reduce):
    y = np.empty([len(x), grid, grid, x.shape[3]])
    for row in range(grid):
        for column in range(grid):
            cell = x[
                :, row * stride : row * stride + window, column * stride : column * stride + window
            ]
            assert cell.shape[1:3] == (window, window)
            y[:, row, column] = reduce(cell, (1, 2))
    return y


# size, grid, window, stride: 13 -> 5 is the paper's AlexNet conv4, 28 -> 4 its VGG16.
CASES = [
    (13, 5, 5, 2),
    (28, 4, 7, 7),
    (55, 10, 10, 5),
    (27, 6, 7, 4),
    (14, 4, 5, 3),
    (8, 2, 4, 4),
    (5, 5, 1, 1),
    (7, 1, 7, 7),
]


@pytest.mark.parametrize(("size", "grid", "window", "stride"), CASES)
@pytest.mark.parametrize("mode", ["max", "average"])
def test_windows_of_the_protocols(size, grid, window, stride, mode):
    x = np.random.default_rng(size).normal(size=[2, size, size, 3]).astype("float32") - 5
    expected = loops(x, grid, window, stride, dict(max=np.max, average=np.mean)[mode])
    np.testing.assert_allclose(grid_pool(x, grid, mode), expected, rtol=1e-5)


@pytest.mark.parametrize("grid", range(1, 9))
@pytest.mark.parametrize("size", [1, 4, 7, 13])
def test_every_pixel_counts(size, grid):
    """Whatever the sizes, no border is left out: the largest value is in some cell."""
    for place in (0, size - 1):
        x = np.zeros([1, size, size, 1], "float32")
        x[0, place, place] = 1
        found = grid_pool(x, grid)
        assert found.shape == (1, min(grid, size), min(grid, size), 1)
        assert np.max(found) == 1


def test_oblong_maps():
    x = np.random.default_rng(0).normal(size=[1, 6, 3, 2]).astype("float32")
    found = grid_pool(x, 4)
    assert found.shape == (1, 4, 3, 2)
    for row in range(4):
        np.testing.assert_array_equal(found[0, row], x[0, row : row + 3].max(0))

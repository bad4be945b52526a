"""The picture of the first filters shows each of them, in its own range."""

import numpy as np
import pytest

from ccssl_tf.models import AlexNet
from ccssl_tf.pictures.filters import draw_filters


@pytest.mark.parametrize(("filters", "rows", "columns"), [(8, 2, 4), (96, 7, 14)])
@pytest.mark.parametrize("scale", [1, 3])
def test_filters_are_laid_out_row_by_row(filters, rows, columns, scale):
    backbone = AlexNet(stem="small", width_multiplier=filters / 96, fc_units=())
    picture = draw_filters(backbone, scale)
    cell = 5 * scale + 2
    assert picture.dtype == np.uint8 and picture.shape == (rows * cell, columns * cell, 3)
    kernel = np.asarray(backbone.convolutions()[0].kernel)
    for number in range(rows * columns):
        row, column = divmod(number, columns)
        found = picture[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell]
        if number >= filters:
            assert np.all(found == 255)
            continue
        one = kernel[..., number]
        stretched = np.round((one - one.min()) / np.ptp(one) * 255)
        inner = found[1:-1, 1:-1].astype(int)
        assert np.abs(inner[::scale, ::scale] - stretched).max() <= 1
        assert inner.min() == 0 and inner.max() == 255
        assert np.all(found[[0, -1]] == 255) and np.all(found[:, [0, -1]] == 255)


def test_constant_filters_and_the_default_size():
    backbone = AlexNet(stem="small", width_multiplier=0.1, fc_units=())
    backbone.convolutions()[0].kernel.assign(np.zeros([5, 5, 3, 8]))
    picture = draw_filters(backbone)
    assert picture.shape == (2 * 42, 4 * 42, 3)

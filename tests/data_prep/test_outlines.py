"""Outlines lie where a picture expects them."""

import numpy as np
import pytest

from data_prep.outlines import CLASS_NAMES, OBJECTS, polygon


def test_polygons_point_up():
    triangle = polygon(3, 2.0, centre=(1.0, 5.0))
    np.testing.assert_allclose(triangle[0], [1, 3], atol=1e-12)
    np.testing.assert_allclose(np.hypot(*(triangle - [1, 5]).T), 2)
    star = polygon(5, 1.0, 0.4)
    np.testing.assert_allclose(np.hypot(*star.T), [1, 0.4] * 5)


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_objects_fill_their_square(name):
    corners = np.concatenate([part for part, _ in OBJECTS[name]])
    assert np.abs(corners).max() < 1.1
    assert np.ptp(corners, axis=0).max() >= 1.8
    assert {colour for _, colour in OBJECTS[name]} <= {0, 1, 2, None}

"""Lab against scikit-image."""

import keras
import numpy as np
import pytest

from ccssl_tf.ops import color

# sRGB -> skimage.color.rgb2lab (0.26).
KNOWN = {
    (0, 0, 0): (0.0, 0.0, 0.0),
    (255, 255, 255): (100.0, -0.0025, 0.0047),
    (255, 0, 0): (53.2406, 80.0923, 67.2028),
    (0, 255, 0): (87.7351, -86.183, 83.1797),
    (0, 0, 255): (32.2957, 79.1856, -107.8573),
    (128, 128, 128): (53.585, -0.0015, 0.0028),
    (5, 9, 2): (2.0958, -2.0195, 2.2807),
    (10, 200, 77): (70.8063, -66.6255, 48.8599),
    (201, 13, 155): (45.7368, 74.8856, -26.9759),
    (90, 160, 250): (65.1319, 5.3516, -51.3799),
    (250, 240, 3): (92.8628, -16.4073, 90.9579),
    (33, 33, 34): (12.7758, 0.2499, -0.6729),
}


def numpy(x):
    return keras.ops.convert_to_numpy(x)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int64])
def test_known_colours_and_back(dtype):
    rgb, lab = np.array(list(KNOWN), dtype), np.array(list(KNOWN.values()))
    found = numpy(color.rgb_to_lab(rgb.reshape(3, 4, 3)))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.reshape(-1, 3), lab, atol=2e-3)
    np.testing.assert_allclose(numpy(color.lab_to_rgb(found)).reshape(-1, 3), rgb, atol=0.02)


def test_every_level_comes_back_and_impossible_colours_are_clipped():
    levels = np.random.default_rng(0).integers(0, 256, [4096, 3], np.uint8)
    np.testing.assert_array_equal(
        np.round(numpy(color.lab_to_rgb(color.rgb_to_lab(levels)))), levels
    )
    clipped = numpy(
        color.lab_to_rgb(np.array([[50, 200, -200], [0, -100, 100], [100, 90, 90]], "float32"))
    )
    assert np.isfinite(clipped).all() and clipped.min() >= 0 and clipped.max() <= 255


def test_against_scikit_image_itself():
    reference = pytest.importorskip("skimage.color")
    rgb = np.random.default_rng(1).integers(0, 256, [50, 40, 3], np.uint8)
    lab = reference.rgb2lab(rgb / 255.0)
    np.testing.assert_allclose(numpy(color.rgb_to_lab(rgb)), lab, atol=3e-3)
    np.testing.assert_allclose(
        numpy(color.lab_to_rgb(lab)) / 255, reference.lab2rgb(lab), atol=1e-4
    )

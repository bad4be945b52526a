import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.pretext.halving import STYLES, halve, halving_matrices


def loops(image, style):
    """Two one-dimensional passes over [S, S, C], edge pixels repeated, OpenCV's weights."""
    half = 0.5
    weight = {
        "area": lambda d: 1.0 if d < 1 else 0.0,
        "bilinear": lambda d: max(0.0, 1 - d),
        "bicubic": lambda d: (
            1.25 * d**3 - 2.25 * d**2 + 1
            if d <= 1
            else -0.75 * (d**3 - 5 * d**2 + 8 * d - 4)
            if d < 2
            else 0.0
        ),
        "lanczos": lambda d: (
            4 * np.sin(np.pi * d) * np.sin(np.pi * d / 4) / (np.pi * d) ** 2 if d < 4 else 0.0
        ),
    }[style]
    for axis in (0, 1):
        image = np.moveaxis(image, axis, 0)
        size, out = len(image), []
        for row in range(size // 2):
            centre = 2 * row + half
            taps = [(i, weight(abs(i - centre))) for i in range(2 * row - 3, 2 * row + 5)]
            total = sum(w for _, w in taps)
            out.append(sum(image[min(max(i, 0), size - 1)] * w for i, w in taps) / total)
        image = np.moveaxis(np.array(out), 0, axis)
    return image


def test_each_style_against_loops():
    images = np.random.default_rng(0).uniform(0, 255, [8, 12, 12, 3])
    styles = np.arange(8) % 4
    halved = halve(tf.constant(images, tf.float32), tf.constant(styles, tf.int32))
    assert halved.shape == (8, 6, 6, 3)
    for image, style, result in zip(images, styles, halved.numpy(), strict=True):
        np.testing.assert_allclose(result, loops(image, STYLES[style]), rtol=1e-4, atol=1e-2)


def test_every_row_of_weights_sums_to_one():
    np.testing.assert_allclose(halving_matrices(16).sum(-1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    "style, name",
    [
        ("area", "INTER_AREA"),
        ("bilinear", "INTER_LINEAR"),
        ("bicubic", "INTER_CUBIC"),
        ("lanczos", "INTER_LANCZOS4"),
    ],
)
def test_opencv_gives_the_same(style, name):
    cv2 = pytest.importorskip("cv2")
    methods = dict(
        area=cv2.INTER_AREA,
        bilinear=cv2.INTER_LINEAR,
        bicubic=cv2.INTER_CUBIC,
        lanczos=cv2.INTER_LANCZOS4,
    )
    image = np.random.default_rng(1).uniform(0, 255, [24, 24, 3]).astype(np.float32)
    ours = halve(tf.constant(image[None]), tf.constant([STYLES.index(style)]))[0]
    np.testing.assert_allclose(
        ours, cv2.resize(image, (12, 12), interpolation=methods[style]), rtol=1e-4, atol=1e-2
    )

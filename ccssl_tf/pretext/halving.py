"""Halving images in one of four ways.

So a network cannot tell by the resampling which images were halved. The filters are OpenCV's at a
factor of two, without its rounding to whole grey levels (Noroozi et al. 2017, section 5.3: "either
the bicubic, bilinear, lanczos, or the area method as defined in OpenCV"). At this factor its
bilinear method is its area method.
"""

import numpy as np
import tensorflow as tf


def _lanczos(distance, lobes=4):
    return np.sinc(distance) * np.sinc(distance / lobes)


def _cubic(distance, a=-0.75):
    """Keys's kernel for |distance| <= 2."""
    x = np.abs(distance)
    return np.where(x <= 1, (a + 2) * x**3 - (a + 3) * x**2 + 1, a * (x**3 - 5 * x**2 + 8 * x - 4))


# Every new pixel lies midway between two old ones.
_FILTERS = {
    "area": np.array([0.5, 0.5]),
    "bilinear": np.array([0.5, 0.5]),
    "bicubic": _cubic(np.arange(4) - 1.5),
    "lanczos": _lanczos(np.arange(8) - 3.5),
}
STYLES = tuple(_FILTERS)


def halving_matrices(size: int) -> np.ndarray:
    """Returns [4, size / 2, size] float32: for each of `STYLES` the weights of a row's pixels.

    Beyond the ends of a row its last pixel counts on.
    """
    matrices = np.zeros([len(STYLES), size // 2, size])
    for matrix, taps in zip(matrices, _FILTERS.values(), strict=True):
        for row in range(size // 2):
            pixels = np.clip(2 * row + 1 - len(taps) // 2 + np.arange(len(taps)), 0, size - 1)
            np.add.at(matrix[row], pixels, taps / taps.sum())
    return matrices.astype(np.float32)


def halve(images, style):
    """Halves images [B, S, S, C] float32, S even, to [B, S / 2, S / 2, C].

    The filters are those of `style` [B] int32, an index of `STYLES`.
    """
    matrices = tf.constant(halving_matrices(images.shape[1]))
    chosen = tf.einsum("bs,sij->bij", tf.one_hot(style, len(STYLES)), matrices)
    return tf.einsum("bij,bjkc,blk->bilc", chosen, images, chosen)

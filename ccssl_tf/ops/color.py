"""sRGB and CIE L*a*b* (white D65, 2 degree observer), on every Keras backend."""

import numpy as np
from keras import ops

# Linear sRGB to XYZ (IEC 61966-2-1) and the white point, as scikit-image has them.
_XYZ = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])
_TO_XYZ = (_XYZ / _WHITE[:, None]).T
_FROM_XYZ = np.linalg.inv(_TO_XYZ)
# f(x) of (x, y, z) / white to (L + 16, a, b).
_TO_LAB = np.array([[0.0, 500, 0], [116, -500, 200], [0, 0, -200]])
_FROM_LAB = np.linalg.inv(_TO_LAB)


def _mixed(x, matrix, offset=0.0):
    """Returns x [..., 3] @ matrix [3, 3], `offset` added to x's first channel; GPUs may round a
    real matrix product to 10 bits.
    """
    channels = [x[..., 0] + offset, x[..., 1], x[..., 2]]
    rows = [
        sum(float(matrix[i, j]) * channels[i] for i in range(3) if matrix[i, j]) for j in range(3)
    ]
    return ops.stack(rows, -1)


def rgb_to_lab(images):
    """Maps sRGB [..., 3] in [0, 255] of any dtype to Lab [..., 3] float32: L in [0, 100], a in
    [-87, 99], b in [-108, 95].
    """
    x = ops.cast(images, "float32") / 255
    linear = ops.where(
        x > 0.04045, ops.power((ops.maximum(x, 0.04045) + 0.055) / 1.055, 2.4), x / 12.92
    )
    xyz = _mixed(linear, _TO_XYZ)
    f = ops.where(
        xyz > 0.008856, ops.power(ops.maximum(xyz, 0.008856), 1 / 3), 7.787 * xyz + 16 / 116
    )
    lab = _mixed(f, _TO_LAB)
    return ops.concatenate([lab[..., :1] - 16, lab[..., 1:]], -1)


def lab_to_rgb(lab):
    """Maps Lab [..., 3] to sRGB [..., 3] float32 in [0, 255]; colours no screen can show are
    clipped.
    """
    f = _mixed(ops.cast(lab, "float32"), _FROM_LAB, offset=16.0)
    xyz = ops.where(f > 0.2068966, ops.power(ops.maximum(f, 0), 3), (f - 16 / 116) / 7.787)
    linear = ops.clip(_mixed(xyz, _FROM_XYZ), 0, 1)
    return 255 * ops.where(
        linear > 0.0031308,
        1.055 * ops.power(ops.maximum(linear, 0.0031308), 1 / 2.4) - 0.055,
        12.92 * linear,
    )

"""The colours that stand for classes in VOC's masks. This module does not import TensorFlow."""

import numpy as np

# Value of pixels that belong to no class.
VOID = 255


def voc_colors(num_colors: int = 256) -> np.ndarray:
    """Returns the devkit's colours (VOClabelcolormap), [num_colors, 3] uint8.

    They are the bits of a class, spread from the top over R, G, B.
    """
    numbers = np.arange(num_colors)
    channels = [
        sum(((numbers >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(8))
        for channel in range(3)
    ]
    return np.stack(channels, -1).astype(np.uint8)

"""Draws the filters of a backbone's first convolution (Figure 4 of the paper)."""

import keras
import numpy as np


def draw_filters(backbone, scale: int | None = None) -> np.ndarray:
    """Lays the RGB filters out in a near-square grid, each stretched to its own range.

    Args:
      backbone: any backbone with an RGB input.
      scale: screen pixels a weight; by default about 40 pixels a filter.

    Returns:
      [H, W, 3] uint8.
    """
    kernel = keras.ops.convert_to_numpy(backbone.convolutions()[0].kernel).transpose(3, 0, 1, 2)
    low, high = kernel.min((1, 2, 3), keepdims=True), kernel.max((1, 2, 3), keepdims=True)
    filters = ((kernel - low) / np.maximum(high - low, 1e-12) * 255).round().astype(np.uint8)
    scale = scale or max(1, 40 // filters.shape[1])
    filters = filters.repeat(scale, 1).repeat(scale, 2)
    filters = np.pad(filters, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=255)
    columns = int(np.ceil(np.sqrt(len(filters) * 2)))
    rows = -(-len(filters) // columns)
    filters = np.concatenate(
        [filters, np.full([rows * columns - len(filters), *filters.shape[1:]], 255, np.uint8)]
    )
    size = filters.shape[1]
    return (
        filters.reshape(rows, columns, size, size, 3)
        .transpose(0, 2, 1, 3, 4)
        .reshape(rows * size, columns * size, 3)
    )

"""Histograms of oriented gradients of a batch of images, the numbers of scikit-image's
`feature.hog` (Dalal and Triggs, CVPR 2005).

Differences of 8-bit pixels are whole numbers in [-255, 255], so orientation and length of every
gradient there can be lie in one table, computed once with the very functions scikit-image calls:
both then agree also where rounding decides, as on which of two channels has the longer gradient or
in which bin an angle on a boundary lies.
"""

import functools

import numpy as np
import tensorflow as tf

MAX_ORIENTATIONS = 64
_LARGEST, _SIDE = 255, 511
# A table entry is the rank of the length above _RANK_SHIFT, room for the channel, and the
# orientation in the lowest bits.
_CHANNEL_SHIFT, _RANK_SHIFT, _MAX_CHANNELS = 6, 8, 4
_EPSILON = 1e-5
_CLIP = 0.2


def num_blocks(side: int, pixels_per_cell: int, cells_per_block: int) -> int:
    """Returns how many blocks lie along `side` pixels, one starting at every cell; below 1: the
    side is too short for one.
    """
    return side // pixels_per_cell - cells_per_block + 1


def hog_blocks(images, *, orientations: int, pixels_per_cell: int, cells_per_block: int):
    """Returns the block-normalised histograms of every block of cells.

    As `skimage.feature.hog(image, orientations, (p, p), (b, b), "L2-Hys", feature_vector=False,
    channel_axis=-1)`: central differences, 0 at the border; the channel with the longest gradient,
    the first of equals; unsigned orientation in hard bins, weighted by length; mean of each cell;
    blocks overlap by all but one cell and are divided by their length, clipped at 0.2 and divided
    again.

    Args:
      images: [B, H, W, C] uint8; H, W and C static, C at most 4. Pixels beyond the last whole cell
        count only as neighbours.
      orientations: bins over 180 degrees, at most 64.
      pixels_per_cell: p, side of a cell in pixels.
      cells_per_block: b, side of a block in cells.

    Returns:
      [B, (H // p) - b + 1, (W // p) - b + 1, b * b * orientations] float32: cells of a block by
      row, then orientations.

    Raises:
      ValueError: no block fits, or the pixels are not bytes.
    """
    _, height, width, channels = images.shape
    if (
        images.dtype != tf.uint8
        or channels > _MAX_CHANNELS
        or not 1 <= orientations <= MAX_ORIENTATIONS
    ):
        raise ValueError(
            f"images of uint8, at most {_MAX_CHANNELS} channels and {MAX_ORIENTATIONS} "
            "orientations are needed"
        )
    if min(num_blocks(side, pixels_per_cell, cells_per_block) for side in (height, width)) < 1:
        raise ValueError(
            f"{height}x{width} pixels: smaller than a block of {cells_per_block} cells of "
            f"{pixels_per_cell} pixels"
        )
    cells = _cell_histograms(
        _strongest_gradients(images, orientations), orientations, pixels_per_cell
    )
    rows, columns = (num_blocks(side, pixels_per_cell, cells_per_block) for side in (height, width))
    within = range(cells_per_block)
    blocks = tf.concat(
        [cells[:, y : y + rows, x : x + columns] for y in within for x in within], -1
    )
    return _unit_length(tf.minimum(_unit_length(blocks), _CLIP))


def _strongest_gradients(images, orientations):
    """Returns the table entries [B, H, W] int32 of the channel with the longest gradient."""
    table = tf.constant(_gradient_table(orientations)[0])
    strongest = None
    for number, channel in enumerate(tf.unstack(images, axis=-1)):
        channel = tf.cast(channel, tf.int32)
        down = tf.pad(channel[:, 2:] - channel[:, :-2], [[0, 0], [1, 1], [0, 0]])
        right = tf.pad(channel[:, :, 2:] - channel[:, :, :-2], [[0, 0], [0, 0], [1, 1]])
        # Of equal lengths the earlier channel has the larger entry.
        entries = tf.gather(table, (down + _LARGEST) * _SIDE + (right + _LARGEST)) + (
            (_MAX_CHANNELS - 1 - number) << _CHANNEL_SHIFT
        )
        strongest = entries if strongest is None else tf.maximum(strongest, entries)
    return strongest


def _cell_histograms(entries, orientations, pixels_per_cell):
    """Returns the mean length by orientation, [B, rows, columns, orientations] float32, of the
    cells of table entries [B, H, W].
    """
    rows, columns = (side // pixels_per_cell for side in entries.shape[1:])
    entries = tf.reshape(
        entries[:, : rows * pixels_per_cell, : columns * pixels_per_cell],
        [-1, rows * columns * pixels_per_cell**2],
    )
    row, column = (
        np.arange(count * pixels_per_cell) // pixels_per_cell for count in (rows, columns)
    )
    first_bins = tf.constant(
        ((row[:, None] * columns + column) * orientations).reshape(-1).astype(np.int32)
    )
    # Each row of DenseBincount is one image, added up pixel by pixel in order: the sums do not
    # depend on the number of threads.
    sums = tf.raw_ops.DenseBincount(
        input=first_bins + tf.bitwise.bitwise_and(entries, (1 << _CHANNEL_SHIFT) - 1),
        size=rows * columns * orientations,
        weights=tf.gather(
            _gradient_table(orientations)[1], tf.bitwise.right_shift(entries, _RANK_SHIFT)
        ),
        binary_output=False,
    )
    return tf.reshape(sums, [-1, rows, columns, orientations]) / pixels_per_cell**2


def _unit_length(blocks):
    return blocks * tf.math.rsqrt(tf.reduce_sum(tf.square(blocks), -1, keepdims=True) + _EPSILON**2)


@functools.cache
def _gradient_table(orientations):
    """Returns the entry of every gradient (down, right), [511 * 511] int32, and the length of every
    rank, [R] float32.
    """
    down, right = np.meshgrid(
        *2 * [np.arange(-_LARGEST, _LARGEST + 1, dtype=np.float64)], indexing="ij"
    )
    lengths, ranks = np.unique(np.hypot(right, down).ravel(), return_inverse=True)
    angles = np.rad2deg(np.arctan2(down, right)).ravel() % 180
    bins = np.searchsorted(180.0 / orientations * np.arange(1, orientations), angles, side="right")
    return (ranks << _RANK_SHIFT | bins).astype(np.int32), lengths.astype(np.float32)

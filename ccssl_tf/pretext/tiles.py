"""From images to puzzle tiles, for a whole batch inside the training step.

Geometry: the image is cropped to 3x3 cells; a tile is cut at a random offset in its cell, each
colour channel a little apart, so that neither lines running across nor chromatic aberration solve
the puzzle (as released, scaled with the image: experiments/PROTOCOLS.md, "Puzzles").
"""

import dataclasses

import tensorflow as tf

from ccssl_tf.data import SMALL_IMAGE_SIZE
from ccssl_tf.ops import per_example_random as random
from ccssl_tf.runs.errors import FlagError

# Occluding tiles come from another image of the same group of the global batch, so that replicas
# see the same puzzles as one device.
GROUP = 8
MAX_OCCLUSIONS = 2

# Streams of per-example random numbers.
_TILE_OFFSET, _CHANNEL_OFFSET, _PARTNER, _OCCLUSIONS, _TARGETS, _SOURCES, _GRAY = range(7)


@dataclasses.dataclass(frozen=True)
class TileGeometry:
    """Sizes in pixels.

    Attributes:
      short_side: of an image as resized.
      crop: side of its crop.
      cell: side of a cell.
      tile: side of a tile.
      tile_jitter: largest offset of a tile.
      channel_jitter: largest offset of its channels.
    """

    short_side: int
    crop: int
    cell: int
    tile: int
    tile_jitter: int
    channel_jitter: int

    @classmethod
    def for_image_size(cls, image_size: int) -> "TileGeometry":
        """Scales the paper's sizes for 255 pixels to `image_size`.

        They are a short side of 256, cells of 85, tiles of 64, offsets 0..18 plus 0..2. Below 128
        pixels the cell is 5/4 of the tile (64 pixels: crop 60, cells 20, tiles 16), which leaves a
        margin to crop from, or a third of the image where that is less.

        Raises:
          FlagError: tiles would be smaller than 8 pixels.
        """
        tile = round(image_size * 64 / 255 / 2) * 2
        if tile < 8:
            raise FlagError(
                f"--image_size={image_size}: too small for a 3x3 puzzle of 8-pixel tiles; use 32 "
                "or more"
            )
        small = image_size < SMALL_IMAGE_SIZE
        cell = min(tile * 5 // 4, image_size // 3) if small else image_size // 3
        room = cell - tile
        channel_jitter = max(1, round(room * 2 / 21))
        return cls(
            image_size if small else image_size + 1,
            3 * cell,
            cell,
            tile,
            min(round(room * 18 / 21), room - channel_jitter),
            channel_jitter,
        )


def cut_windows(images, start, size: int):
    """Cuts square windows.

    Args:
      images: [B, H, W, 3], of known size.
      start: [B, T, 3 or 1, 2] int32, row and column of the upper left corner of each window, by
        channel or for all.
      size: t, pixels.

    Returns:
      [B, T, t, t, 3], of the images' type.
    """
    height, width = images.shape[1:3]
    steps = tf.range(size)
    rows = start[..., 0, None, None] + steps[:, None]
    columns = start[..., 1, None, None] + steps[None, :]
    pixel = (rows * width + columns) * 3 + tf.range(3)[None, None, :, None, None]
    flat = tf.reshape(images, [-1, height * width * 3])
    windows = tf.gather(flat, tf.reshape(pixel, [tf.shape(flat)[0], -1]), batch_dims=1)
    return tf.transpose(tf.reshape(windows, [-1, start.shape[1], 3, size, size]), [0, 1, 3, 4, 2])


def cut_tiles(images, seed, geometry: TileGeometry):
    """Cuts nine tiles, row by row.

    Args:
      images: [B, crop, crop, 3].
      seed: [B, 2] int64.
      geometry: sizes.

    Returns:
      tiles [B, 9, t, t, 3], of the images' type.
    """
    batch = tf.shape(images)[0]
    cell = geometry.cell
    offset = random.integers(seed, 18, _TILE_OFFSET, geometry.tile_jitter + 1)
    channel_offset = random.integers(seed, 54, _CHANNEL_OFFSET, geometry.channel_jitter + 1)
    offset = tf.reshape(offset, [batch, 9, 1, 2]) + tf.reshape(channel_offset, [batch, 9, 3, 2])
    corner = tf.constant([[row * cell, column * cell] for row in range(3) for column in range(3)])
    return cut_windows(images, offset + corner[None, :, None, :], geometry.tile)


def occlude(tiles, seed):
    """Replaces 0, 1 or 2 tiles of each puzzle, equally likely, by another image's.

    This is what Jigsaw++ adds (paper section 4.1).

    Args:
      tiles: [B, 9, t, t, C]; B a multiple of 8, or smaller than 8. The examples of a group of 8
        must be different images.
      seed: [B, 2] int64.

    Returns:
      (tiles [B, 9, t, t, C], occluded [B, 9] bool). Slots are distinct, and so are the foreign
      tiles, all of one other image.
    """
    batch = tf.shape(tiles)[0]
    group = tf.minimum(GROUP, batch)
    position = tf.range(batch)
    partner_step = 1 + random.integers(seed, 1, _PARTNER, tf.maximum(group - 1, 1))[:, 0]
    partner = position // group * group + (position + partner_step) % group
    count = random.integers(seed, 1, _OCCLUSIONS, MAX_OCCLUSIONS + 1)
    targets = random.distinct_integers(seed, MAX_OCCLUSIONS, _TARGETS, 9)
    sources = random.distinct_integers(seed, MAX_OCCLUSIONS, _SOURCES, 9)
    active = tf.range(MAX_OCCLUSIONS)[None] < count
    hits = tf.one_hot(targets, 9, on_value=True, off_value=False) & active[..., None]
    occluded = tf.reduce_any(hits, axis=1)
    source = tf.reduce_sum(tf.cast(hits, tf.int32) * sources[..., None], axis=1)
    itself = position[:, None] * 9 + tf.range(9)[None]
    chosen = tf.where(occluded, partner[:, None] * 9 + source, itself)
    flat = tf.reshape(tiles, tf.concat([[batch * 9], tf.shape(tiles)[2:]], 0))
    return tf.ensure_shape(tf.gather(flat, chosen), tiles.shape), occluded


def gray(tiles, seed, probability: float):
    """Makes whole puzzles grey: the mean of RGB in every channel.

    Occluding tiles are included, for a mismatch would give them away.

    Args:
      tiles: [B, 9, t, t, 3] float32.
      seed: [B, 2] int64.
      probability: of a grey puzzle; 0.7 in the paper.
    """
    is_gray = random.uniform(seed, 1, _GRAY)[:, 0] < probability
    return tf.where(
        is_gray[:, None, None, None, None], tf.reduce_mean(tiles, -1, keepdims=True), tiles
    )


def normalize_tiles(tiles):
    """Shifts and scales each tile to mean 0 and standard deviation 50, as released.

    Both are over all its pixels and channels.

    Args:
      tiles: [..., t, t, C] float32.
    """
    mean, variance = tf.nn.moments(tiles, [-3, -2, -1], keepdims=True)
    return (tiles - mean) * (50.0 / (tf.sqrt(variance) + 1e-6))

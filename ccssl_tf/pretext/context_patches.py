"""From images to pairs of patches, for the context task.

Four patches lie in a square, from which all eight relations can be asked.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from ccssl_tf.data import SMALL_IMAGE_SIZE, image_ops
from ccssl_tf.ops import per_example_random as random
from ccssl_tf.pretext import tiles as tiles_lib
from ccssl_tf.runs.errors import FlagError

NUM_PATCHES = 4
# Row and column of the second patch as seen from the first, in the order of the released code's
# classes.
RELATIONS = tuple(
    (row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if (row, column) != (0, 0)
)
# On (R, G, B): I - a'a / aa' with a = (-1, 2, -1), green against magenta (Doersch et al. 2015,
# section 3.1).
PROJECTION = ((5 / 6, 1 / 3, -1 / 6), (1 / 3, 1 / 3, 1 / 3), (-1 / 6, 1 / 3, 5 / 6))

# Streams of per-example random numbers.
_JITTER, _IS_DOWNSAMPLED, _DOWNSAMPLED_SIZE, _KEPT_CHANNEL, _NOISE, _RELATION, _ALTERNATIVE = range(
    200, 207
)


def _pairs_by_relation():
    """[8, 2, 2]: two pairs (first, second) of the four patches in each relation.

    A diagonal has but one, listed twice.
    """
    cells = [(row, column) for row in (0, 1) for column in (0, 1)]
    table = []
    for row, column in RELATIONS:
        pairs = [
            (cells.index((y, x)), cells.index((y + row, x + column)))
            for y, x in cells
            if (y + row, x + column) in cells
        ]
        table.append((pairs * 2)[:2])
    return np.array(table, np.int32)


_PAIRS = _pairs_by_relation()


@dataclasses.dataclass(frozen=True)
class ContextGeometry:
    """Sizes in pixels.

    Attributes:
      crop: side of the square crop.
      patch: side of a patch.
      gap: between patches.
      jitter: the largest one, to either side.
      min_area, max_area: of images as resized.
    """

    crop: int
    patch: int
    gap: int
    jitter: int
    min_area: int
    max_area: int

    @classmethod
    def for_image_size(cls, image_size: int) -> "ContextGeometry":
        """Scales the source's sizes, which fill 254 pixels, to `image_size`.

        They are patches of 96, gaps of 48 and a jitter of 7. Images of 128 pixels and more are
        resized to 150,000 to 450,000 pixels, in proportion; smaller ones have none to spare: their
        short side is `image_size`.

        Raises:
          FlagError: patches would be smaller than 8 pixels.
        """
        scale = image_size / 254
        patch, gap = int(96 * scale), int(48 * scale)
        jitter = (image_size - 2 * patch - gap) // 2
        if patch < 8 or jitter < 1:
            raise FlagError(
                f"--image_size={image_size}: too small for pairs of 8-pixel patches; use 32 or more"
            )
        crop = 2 * patch + gap + 2 * jitter
        if image_size < SMALL_IMAGE_SIZE:
            return cls(crop, patch, gap, jitter, image_size**2, image_size**2)
        return cls(crop, patch, gap, jitter, round(150_000 * scale**2), round(450_000 * scale**2))


def crop_image(encoded, geometry: ContextGeometry, seed=None):
    """Resizes an image to a random area and crops it: [crop, crop, 3] uint8.

    Without a seed it is the middle area and the centre.
    """
    if geometry.min_area == geometry.max_area:
        short_side = round(geometry.min_area**0.5)
    else:
        draw = (
            0.5
            if seed is None
            else tf.random.stateless_uniform([], tf.random.experimental.stateless_fold_in(seed, 1))
        )
        area = geometry.min_area + draw * (geometry.max_area - geometry.min_area)
        size = tf.cast(tf.io.extract_jpeg_shape(encoded)[:2], tf.float32)
        short_side = tf.cast(
            tf.round(tf.reduce_min(size) * tf.sqrt(area / (size[0] * size[1]))), tf.int32
        )
        short_side = tf.maximum(short_side, geometry.crop)
    if seed is None:
        return image_ops.center_crop(encoded, geometry.crop, short_side)
    return image_ops.random_crop(encoded, geometry.crop, short_side, seed)


def patch_corners(seed, geometry: ContextGeometry):
    """Returns the upper left corners [B, 4, 2] int32 of the patches, row by row.

    Each is jittered on its own.
    """
    offset = tf.reshape(
        random.integers(seed, 2 * NUM_PATCHES, _JITTER, 2 * geometry.jitter + 1),
        [-1, NUM_PATCHES, 2],
    )
    step = geometry.patch + geometry.gap
    return offset + tf.constant([[0, 0], [0, step], [step, 0], [step, step]])


def cut_patches(images, seed, geometry: ContextGeometry):
    """Cuts four patches [B, 4, p, p, 3] from images [B, crop, crop, 3], of the images' type."""
    return tiles_lib.cut_windows(images, patch_corners(seed, geometry)[:, :, None], geometry.patch)


def downsampling_matrices(patch: int) -> np.ndarray:
    """Returns [1 + n, p, p] float32, matrices that resize a line of p pixels and back.

    Row 0 changes nothing, row i resizes to fewer pixels, bilinearly. The sizes in between are
    ceil(10 / 96 p) to p - 2: in the released code 10 to 94 of 96.
    """

    def bilinear(source, target):
        position = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
        return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(source)))

    sizes = range(-(-10 * patch // 96), patch - 1)
    return np.stack(
        [np.eye(patch), *(bilinear(size, patch) @ bilinear(patch, size) for size in sizes)]
    ).astype(np.float32)


def downsample(patches, seed, probability: float):
    """Resizes some patches to fewer pixels and back, so that pixelation tells nothing.

    In the released code it is one in three.

    Args:
      patches: [B, 4, p, p, C] float32.
      seed: [B, 2] int64.
      probability: of each patch. The number of pixels in between is uniform.
    """
    count, size = patches.shape[1:3]
    matrices = downsampling_matrices(size)
    smallest = size - len(matrices)
    area = smallest**2 + random.uniform(seed, count, _DOWNSAMPLED_SIZE) * (
        (size - 1) ** 2 - smallest**2
    )
    index = tf.minimum(1 + tf.cast(tf.sqrt(area), tf.int32) - smallest, len(matrices) - 1)
    index = tf.where(random.uniform(seed, count, _IS_DOWNSAMPLED) < probability, index, 0)
    chosen = tf.gather(tf.constant(matrices), index)
    return tf.einsum("btrs,btpsc->btprc", chosen, tf.einsum("btpq,btqsc->btpsc", chosen, patches))


def project_colors(patches):
    """Takes green against magenta out of the colours [..., 3] (ColorProjection).

    Chromatic aberration shifts these.
    """
    return tf.tensordot(patches, tf.constant(PROJECTION, tf.float32), 1)


def drop_colors(patches, seed):
    """Keeps one colour channel of each patch, minus its mean (ColorDropping).

    The others are noise; the root mean square is 50.

    Args:
      patches: [B, 4, p, p, 3] float32.
      seed: [B, 2] int64.
    """
    count = patches.shape[1]
    kept = tf.one_hot(
        random.integers(seed, count, _KEPT_CHANNEL, 3), 3, on_value=True, off_value=False
    )[:, :, None, None]
    noise = (
        tf.reshape(random.uniform(seed, int(np.prod(patches.shape[1:])), _NOISE), tf.shape(patches))
        - 0.5
    )
    patches = tf.where(kept, patches - tf.reduce_mean(patches, [2, 3], keepdims=True), noise)
    return patches * (
        50.0 / (tf.sqrt(tf.reduce_mean(tf.square(patches), [2, 3, 4], keepdims=True)) + 1e-6)
    )


def draw_pairs(seed, count: int):
    """Draws `count` different relations an image, and for each a pair of patches in it.

    Each relation is equally likely.

    Args:
      seed: [B, 2] int64.
      count: M, 1 to 8.

    Returns:
      (order [B, M, 2] int32: first and second patch, relation [B, M] int32: index into RELATIONS).
    """
    relation = random.distinct_integers(seed, count, _RELATION, len(RELATIONS))
    alternative = random.integers(seed, count, _ALTERNATIVE, 2)
    return tf.gather_nd(tf.constant(_PAIRS), tf.stack([relation, alternative], -1)), relation

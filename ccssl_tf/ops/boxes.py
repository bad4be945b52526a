"""Boxes in pixels, the last one included: overlap, the coding of Fast R-CNN (Girshick 2015; its
lib/), suppression.

A box is xmin, ymin, xmax, ymax; its width is xmax - xmin + 1 where areas are compared. The coding
of regression targets uses xmax - xmin instead, as the released code does.
"""

import math

import tensorflow as tf

# Sides that a decoded box may grow by: e^dw beyond this could overflow, and every box is clipped to
# its image anyway.
_MOST_GROWTH = math.log(1e4)


def intersection_over_union(boxes, others):
    """Returns the overlaps [N, M] float32 in [0, 1] of boxes [N, 4] and others [M, 4]."""
    boxes, others = tf.cast(boxes, tf.float32)[:, None], tf.cast(others, tf.float32)[None]
    sides = tf.maximum(
        tf.minimum(boxes[..., 2:], others[..., 2:])
        - tf.maximum(boxes[..., :2], others[..., :2])
        + 1,
        0,
    )
    shared = sides[..., 0] * sides[..., 1]
    areas = [tf.reduce_prod(given[..., 2:] - given[..., :2] + 1, -1) for given in (boxes, others)]
    return shared / (areas[0] + areas[1] - shared)


def _centers_and_sides(boxes):
    """Centres and sides, each [..., 2]; boxes one pixel thin count as one wide, for their
    logarithm.
    """
    sides = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + sides / 2, tf.maximum(sides, 1.0)


def encode(boxes, targets):
    """Returns how to get from boxes to targets, both [..., 4]: dx / w, dy / h, log(w' / w), log(h'
    / h), float32 [..., 4].
    """
    (centers, sides), (target_centers, target_sides) = (
        _centers_and_sides(tf.cast(given, tf.float32)) for given in (boxes, targets)
    )
    return tf.concat([(target_centers - centers) / sides, tf.math.log(target_sides / sides)], -1)


def decode(boxes, codes):
    """Returns the boxes that `encode` led to: boxes [..., 4], codes [..., 4] -> float32
    [..., 4].
    """
    centers, sides = _centers_and_sides(tf.cast(boxes, tf.float32))
    new_centers = centers + codes[..., :2] * sides
    halves = tf.exp(tf.minimum(codes[..., 2:], _MOST_GROWTH)) * sides / 2
    return tf.concat([new_centers - halves, new_centers + halves], -1)


def clip(boxes, height, width):
    """Moves the corners of boxes [..., 4], pixels counted from 0, into an image: [0, width - 1] and
    [0, height - 1].
    """
    limits = tf.cast(tf.stack([width, height, width, height]), boxes.dtype) - 1
    return tf.clip_by_value(boxes, tf.zeros_like(limits), limits)


def mirror(boxes, width):
    """Returns the boxes [..., 4], pixels counted from 0, of the image mirrored left to right."""
    left, top, right, bottom = tf.unstack(boxes, axis=-1)
    last = tf.cast(width, boxes.dtype) - 1
    return tf.stack([last - right, top, last - left, bottom], -1)


def non_maximum_suppression(boxes, scores, most: int, threshold: float):
    """Returns the rows of the boxes that are kept, surest first, [at most `most`] int32.

    Those that overlap a kept, surer one by more than the threshold are dropped; equal scores count
    in the order given.

    Args:
      boxes: [N, 4] float32.
      scores: [N] float32.
      most: boxes kept at most.
      threshold: intersection over union.
    """
    # TensorFlow measures sides as xmax - xmin: moving the far corners by a pixel gives the same
    # areas and overlaps.
    return tf.image.non_max_suppression(
        tf.cast(boxes, tf.float32) + [0.0, 0, 1, 1], scores, most, threshold
    )

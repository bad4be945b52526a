"""Training examples of Fast R-CNN (Girshick 2015, section 2.3; experiments/PROTOCOLS.md,
"Detection (Fast R-CNN)"): photos at a random scale, regions from their proposals.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from ccssl_tf.downstream.detection_images import DetectionImages
from ccssl_tf.ops import boxes as box_ops
from ccssl_tf.ops import per_example_random

# Streams of random numbers.
_MIRROR, _SCALE, _FOREGROUND, _BACKGROUND = 20, 21, 22, 23
FOREGROUND_OVERLAP, BACKGROUND_OVERLAP, FOREGROUND_SHARE = 0.5, 0.1, 0.25
NO_REGION = -1


@dataclasses.dataclass(frozen=True)
class RegionTables:
    """The regions (objects, then proposals) and objects of all images, one after the other, on the
    CPU, for use in tf.data.

    Attributes:
      regions: [*, 4] int32.
      region_splits: [N + 1] int64, where each image's begin.
      truths: [*, 4] int32.
      labels: [*] int32 in [0, C).
      truth_splits: [N + 1] int64.
    """

    regions: tf.Tensor
    region_splits: tf.Tensor
    truths: tf.Tensor
    labels: tf.Tensor
    truth_splits: tf.Tensor

    @classmethod
    def of(cls, images: DetectionImages) -> "RegionTables":
        """Joins the lists of `images`."""
        together = [
            np.concatenate(pair) for pair in zip(images.truths, images.proposals, strict=True)
        ]

        def splits(arrays):
            return np.cumsum([0] + [len(array) for array in arrays])

        with tf.device("CPU"):
            return cls(
                tf.constant(np.concatenate(together)),
                tf.constant(splits(together)),
                tf.constant(np.concatenate(images.truths)),
                tf.constant(np.concatenate(images.labels)),
                tf.constant(splits(images.truths)),
            )

    def of_image(self, index):
        """Returns the regions [R, 4], objects [G, 4] and labels [G] of the image at `index`."""
        first, last = self.region_splits[index], self.region_splits[index + 1]
        first_truth, last_truth = self.truth_splits[index], self.truth_splits[index + 1]
        return (
            self.regions[first:last],
            self.truths[first_truth:last_truth],
            self.labels[first_truth:last_truth],
        )


def resized_photo(image, short_side, max_side: int):
    """Resizes so that the shorter side has `short_side` pixels, or the longer one `max_side` if it
    would have more.

    Args:
      image: [h, w, 3] uint8.
      short_side: scalar, pixels.
      max_side: pixels.

    Returns:
      (image [H, W, 3] uint8, scale: pixels of it per pixel of the given one, float32).
    """
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    shortest, longest = tf.reduce_min(size), tf.reduce_max(size)
    scale = tf.minimum(tf.cast(short_side, tf.float32) / shortest, max_side / longest)
    resized = tf.image.resize(
        image, tf.maximum(tf.cast(tf.round(size * scale), tf.int32), 1), antialias=True
    )
    resized = tf.saturate_cast(tf.round(resized), tf.uint8)
    resized.set_shape([None, None, 3])
    return resized, scale


def training_example(
    image, regions, truths, labels, seed, *, scales, max_side, num_regions: int, mirror: bool
) -> dict:
    """Returns one training example; everything random follows from `seed`.

    A region is foreground if it overlaps an object by at least 0.5, of the one it overlaps most,
    and background if it overlaps them by 0.1 to 0.5. Up to a quarter are foreground and the rest
    background, without repetition; where there are not enough, less are taken.

    Args:
      image: [h, w, 3] uint8.
      regions: [R, 4] int32.
      truths: [G, 4] int32.
      labels: [G] int32 in [0, C).
      seed: [2] int64.
      scales: shorter sides to choose from, pixels.
      max_side: pixels the longer side has at most.
      num_regions: S.
      mirror: whether half the photos are mirrored.

    Returns:
      dict of image [H, W, 3] uint8, size [2] int32 (H, W), rois [S, 4] float32 in pixels of it,
      roi_labels [S] int32 (0 background, 1 + class, -1 where there is no region) and codes [S, 4]
      float32.
    """
    seed = seed[None]
    if mirror:
        mirrored = per_example_random.uniform(seed, 1, _MIRROR)[0, 0] < 0.5
        width = tf.shape(image)[1]
        image = tf.cond(mirrored, lambda: image[:, ::-1], lambda: image)
        regions, truths = (
            tf.cond(mirrored, lambda b=b: box_ops.mirror(b, width), lambda b=b: b)
            for b in (regions, truths)
        )
    chosen = tf.gather(
        tf.constant(scales, tf.int32),
        per_example_random.integers(seed, 1, _SCALE, len(scales))[0, 0],
    )
    image, scale = resized_photo(image, chosen, max_side)
    # A column of zeros, for images without objects.
    overlaps = tf.pad(box_ops.intersection_over_union(regions, truths), [[0, 0], [0, 1]])
    overlap, best = tf.reduce_max(overlaps, 1), tf.argmax(overlaps, 1)
    rows, is_foreground = _drawn(overlap, seed, num_regions)
    count = tf.shape(rows)[0]
    truths, labels = tf.pad(truths, [[0, 1], [0, 0]]), tf.pad(labels, [[0, 1]])
    own_boxes, own_truths = tf.gather(regions, rows), tf.gather(truths, tf.gather(best, rows))
    codes = tf.where(is_foreground[:, None], box_ops.encode(own_boxes, own_truths), 0.0)
    roi_labels = tf.where(is_foreground, tf.gather(labels, tf.gather(best, rows)) + 1, 0)
    missing = num_regions - count
    return dict(
        image=image,
        size=tf.shape(image)[:2],
        rois=tf.ensure_shape(
            tf.pad(tf.cast(own_boxes, tf.float32) * scale, [[0, missing], [0, 0]]), [num_regions, 4]
        ),
        roi_labels=tf.ensure_shape(
            tf.pad(roi_labels, [[0, missing]], constant_values=NO_REGION), [num_regions]
        ),
        codes=tf.ensure_shape(tf.pad(codes, [[0, missing], [0, 0]]), [num_regions, 4]),
    )


def _drawn(overlap, seed, num_regions):
    """Returns the rows of the regions drawn, [at most num_regions] int32, foreground first, and
    which of them are foreground.
    """
    count = tf.shape(overlap)[0]
    is_foreground = overlap >= FOREGROUND_OVERLAP
    is_background = (overlap >= BACKGROUND_OVERLAP) & ~is_foreground

    def draw(allowed, stream, max_count):
        keys = per_example_random.uniform(seed, count, stream)[0]
        order = tf.argsort(tf.where(allowed, keys, 2.0), stable=True)
        return order[: tf.minimum(max_count, tf.reduce_sum(tf.cast(allowed, tf.int32)))]

    foreground = draw(is_foreground, _FOREGROUND, round(FOREGROUND_SHARE * num_regions))
    background = draw(is_background, _BACKGROUND, num_regions - tf.shape(foreground)[0])
    rows = tf.concat([foreground, background], 0)
    return rows, tf.range(tf.shape(rows)[0]) < tf.shape(foreground)[0]

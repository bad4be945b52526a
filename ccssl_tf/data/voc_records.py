"""What VOC adds to an image record: boxes with classes, the three states of every class, a mask of
classes.

Boxes are stored as the Object Detection API's normalised corners and given back as the devkit's
integers: 1-based pixels, the last one included. Classes are 0..19 in the devkit's (alphabetical)
order; in masks 0 is background, 1..20 the classes, 255 void.
"""

import numpy as np
import tensorflow as tf

from ccssl_tf.data import records

CORNERS = ("xmin", "ymin", "xmax", "ymax")


def object_features(
    boxes: np.ndarray,
    labels: list[int],
    texts: list[bytes],
    *,
    difficult: list[bool],
    truncated: list[bool],
    height: int,
    width: int,
) -> dict:
    """Returns the features of an image's R objects, for `records.image_example(extra=)`.

    Args:
      boxes: [R, 4] integers xmin, ymin, xmax, ymax in 1-based inclusive pixels, as the devkit has
        them.
      labels: [R] classes in [0, 20).
      texts: [R] class names.
      difficult: [R]; the devkit's evaluation ignores such objects.
      truncated: [R]; part of the object lies outside the image.
      height: of the image, pixels.
      width: of the image, pixels.
    """
    # The first pixel begins at 0, the last one ends at the image's edge: (x1 - 1) / W and x2 / W.
    normalized = (np.reshape(boxes, [-1, 4]) - [1, 1, 0, 0]) / [width, height, width, height]
    features = {
        f"image/object/bbox/{name}": column.astype(np.float32)
        for name, column in zip(CORNERS, normalized.T, strict=True)
    }
    return features | {
        "image/object/class/label": np.array(labels, np.int64),
        "image/object/class/text": list(texts),
        "image/object/difficult": np.array(difficult, np.int64),
        "image/object/truncated": np.array(truncated, np.int64),
    }


def presence_features(presence: list[int]) -> dict:
    """Returns the feature of the classes' states: [20] of 1 present, -1 absent, 0 only as difficult
    objects.
    """
    return {"image/class/presence": np.array(presence, np.int64)}


def mask_features(png: bytes) -> dict:
    """Returns the features of a segmentation mask: an 8-bit grey PNG of class indices, of the
    image's size.
    """
    return {"image/segmentation/class/encoded": [png], "image/segmentation/class/format": [b"png"]}


def pixel_boxes(normalized, height, width):
    """Returns the devkit's boxes [R, 4] int64, 1-based inclusive pixels: exactly what
    `object_features` was given.

    Args:
      normalized: [R, 4] float32 xmin, ymin, xmax, ymax in [0, 1].
      height: scalar, pixels.
      width: scalar, pixels.
    """
    scale = tf.cast(tf.stack([width, height, width, height]), tf.float32)
    return tf.cast(tf.round(normalized * scale), tf.int64) + tf.constant([1, 1, 0, 0], tf.int64)


def parse_voc_image(serialized) -> dict[str, tf.Tensor]:
    """Parses one VOC record, in a graph.

    Returns:
      What `records.parse_image` gives, and `height`, `width` (int64), `boxes` [R, 4] float32
      normalised xmin ymin xmax ymax, `labels` [R] int64 in [0, 20), `difficult` and `truncated` [R]
      bool, `presence` [20] int64 in {1, 0, -1}, `mask` (PNG bytes; see `decode_mask`). Records of
      `--task=detection` have an empty `mask`, those of `--task=segmentation` no objects and
      `presence` [0].
    """
    many_floats = tf.io.FixedLenSequenceFeature([], tf.float32, allow_missing=True)
    many_ints = tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True)
    parsed = tf.io.parse_single_example(
        serialized,
        {
            "image/height": tf.io.FixedLenFeature([], tf.int64),
            "image/width": tf.io.FixedLenFeature([], tf.int64),
            **{f"image/object/bbox/{name}": many_floats for name in CORNERS},
            "image/object/class/label": many_ints,
            "image/object/difficult": many_ints,
            "image/object/truncated": many_ints,
            "image/class/presence": many_ints,
            "image/segmentation/class/encoded": tf.io.FixedLenFeature([], tf.string, b""),
        },
    )
    return records.parse_image(serialized) | dict(
        height=parsed["image/height"],
        width=parsed["image/width"],
        boxes=tf.stack([parsed[f"image/object/bbox/{name}"] for name in CORNERS], axis=-1),
        labels=parsed["image/object/class/label"],
        difficult=parsed["image/object/difficult"] > 0,
        truncated=parsed["image/object/truncated"] > 0,
        presence=parsed["image/class/presence"],
        mask=parsed["image/segmentation/class/encoded"],
    )


def decode_mask(png):
    """Returns the class of every pixel, [H, W] uint8: 0 background, 1..20, 255 void."""
    return tf.squeeze(tf.io.decode_png(png, channels=1), -1)

"""Scores of the pixels of photos of many sizes, their losses, and the classes they stand for."""

import tensorflow as tf

from ccssl_tf.layers.per_example_dropout import per_example_seeds
from ccssl_tf.metrics.segmentation import VOID


def own_size_scores(model, batch, training: bool):
    """Returns scores [1, h, w, C] and mask [1, h, w] of a batch of one image, without what
    continues them to their batch's size.

    Where image and mask are of two sizes, scores are interpolated bilinearly to the mask's.
    """
    (height, width), (mask_height, mask_width) = (
        tf.unstack(batch[name][0]) for name in ("size", "mask_size")
    )
    images, mask = batch["image"][:, :height, :width], batch["mask"][:, :mask_height, :mask_width]
    with per_example_seeds(batch["seed"]):
        logits = model(model.backbone.normalize(images), training=training)["logits"]
    return tf.image.resize(logits, tf.shape(mask)[1:]), mask


def continued_logits(model, batch):
    """Scores in training of all images of a batch, [B, H, W, C]; what continues an image is 0, as
    in the network's own padding.
    """
    height, width = tf.shape(batch["image"])[1], tf.shape(batch["image"])[2]
    inside = (tf.range(height) < batch["size"][:, :1])[:, :, None] & (
        tf.range(width) < batch["size"][:, 1:]
    )[:, None]
    images = model.backbone.normalize(batch["image"]) * tf.cast(inside, tf.float32)[..., None]
    with per_example_seeds(batch["seed"]):
        return model(images, training=True)["logits"]


def pixel_losses(logits, mask):
    """Returns the mean cross-entropy and accuracy of each image's pixels that are not void; 0 for
    an image without any.

    Args:
      logits: [B, H, W, C] float32.
      mask: [B, H, W] uint8 in [0, C) or 255.

    Returns:
      ([B] float32, dict of `pixel_accuracy` [B] float32).
    """
    valid = tf.cast(mask != VOID, tf.float32)
    classes = tf.where(mask != VOID, tf.cast(mask, tf.int32), 0)
    count = tf.maximum(tf.reduce_sum(valid, [1, 2]), 1)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
    right = tf.cast(tf.equal(tf.argmax(logits, -1, tf.int32), classes), tf.float32)
    return tf.reduce_sum(losses * valid, [1, 2]) / count, dict(
        pixel_accuracy=tf.reduce_sum(right * valid, [1, 2]) / count
    )


def class_map(logits):
    """Returns the class of the greatest score of every pixel, the first of equal ones: [B, H, W, C]
    -> [B, H, W] uint8.
    """
    return tf.cast(tf.argmax(logits, -1, tf.int32), tf.uint8)

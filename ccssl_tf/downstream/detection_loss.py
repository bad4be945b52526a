"""The loss of Fast R-CNN (Girshick 2015, section 2.3): the classes of regions, and their boxes."""

import tensorflow as tf

from ccssl_tf.downstream.region_sampling import NO_REGION


def region_losses(outputs, batch, code_deviations):
    """Returns cross-entropy plus smooth L1 of the box codes, summed over an image's regions and
    divided by their number S, and both parts; `accuracy` over the regions, `foreground` among them.

    Args:
      outputs: `logits` [B S, 1 + C] and `codes` [B S, 4 C] float32, of `build_fast_rcnn`.
      batch: `roi_labels` [B, S] and `codes` [B, S, 4], of `training_example`.
      code_deviations: [C, 4], what differences of codes are divided by.

    Returns:
      ([B] float32, dict of [B] float32).
    """
    labels = batch["roi_labels"]
    count, num_classes = labels.shape[1], len(code_deviations)
    logits = tf.reshape(outputs["logits"], [-1, count, outputs["logits"].shape[-1]])
    codes = tf.reshape(outputs["codes"], [-1, count, num_classes, 4])
    class_losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(labels, 0), logits)
    class_loss = tf.reduce_sum(tf.where(labels == NO_REGION, 0.0, class_losses), 1) / count
    # One-hot rows of each region's class: the gradient of products with them is summed in a fixed
    # order, that of a gather is not.
    is_class = tf.one_hot(labels - 1, num_classes)
    deviations = tf.einsum("bsc,ck->bsk", is_class, tf.constant(code_deviations, tf.float32))
    differences = tf.einsum("bsc,bsck->bsk", is_class, codes) - batch["codes"]
    differences = tf.where(
        deviations > 0, differences / tf.where(deviations > 0, deviations, 1.0), 0.0
    )
    box_loss = tf.reduce_sum(smooth_l1(differences), [1, 2]) / count
    right = tf.cast(tf.argmax(logits, -1, tf.int32) == labels, tf.float32)
    num_regions = tf.maximum(tf.reduce_sum(tf.cast(labels != NO_REGION, tf.float32), 1), 1)
    metrics = dict(
        class_loss=class_loss,
        box_loss=box_loss,
        accuracy=tf.reduce_sum(right, 1) / num_regions,
        foreground=tf.reduce_sum(tf.cast(labels > 0, tf.float32), 1) / num_regions,
    )
    return class_loss + box_loss, metrics


def smooth_l1(x):
    """Half the square below 1, else less a half (Girshick 2015, equation 3)."""
    size = tf.abs(x)
    return tf.where(size < 1, 0.5 * tf.square(x), size - 0.5)

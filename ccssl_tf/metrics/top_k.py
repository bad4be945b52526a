"""Whether the right class is among the k likeliest of an answer."""

import tensorflow as tf


def in_top_k(logits: tf.Tensor, labels: tf.Tensor, k: int) -> tf.Tensor:
    """Returns 1 where the label is among the k greatest logits, else 0: [B] float32.

    Of equal logits the earlier class comes first, so that k = 1 is what argmax answers. A label
    whose logit is not finite is not among them.

    Args:
      logits: [B, classes] float.
      labels: [B] int, classes.
      k: at least 1.

    >>> logits = tf.constant([[0.1, 0.7, 0.2], [0.1, 0.7, 0.2]])
    >>> print(in_top_k(logits, tf.constant([2, 0]), k=2).numpy())
    [1. 0.]
    """
    label_logit = tf.gather(logits, labels, axis=1, batch_dims=1)[:, None]
    is_earlier = tf.range(tf.shape(logits)[1], dtype=labels.dtype)[None] < labels[:, None]
    is_before = (logits > label_logit) | ((logits == label_logit) & is_earlier)
    place = tf.reduce_sum(tf.cast(is_before, tf.int32), axis=1)
    return tf.cast((place < k) & tf.math.is_finite(label_logit[:, 0]), tf.float32)

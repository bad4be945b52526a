"""Whether the right class is among the k an answer finds likeliest."""

import tensorflow as tf


def in_top_k(logits, labels, k: int):
    """Returns 1 where the label is among the k greatest logits, else 0: [B] float32.

    Of equal logits the earlier class comes first, so that k = 1 is what argmax answers. A label
    whose logit is not finite is not found.

    Args:
      logits: [B, classes] float.
      labels: [B] int, classes.
      k: at least 1.
    """
    own = tf.gather(logits, labels, axis=1, batch_dims=1)[:, None]
    earlier = tf.range(tf.shape(logits)[1], dtype=labels.dtype)[None] < labels[:, None]
    before = tf.reduce_sum(tf.cast((logits > own) | ((logits == own) & earlier), tf.int32), axis=1)
    return tf.cast((before < k) & tf.math.is_finite(own[:, 0]), tf.float32)

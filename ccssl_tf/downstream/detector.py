"""A trained Fast R-CNN as a function of photos and regions: scores and boxes of every class, in
pixels of the photo.
"""

import numpy as np
import tensorflow as tf

from ccssl_tf.downstream.region_sampling import resized_photo
from ccssl_tf.ops import boxes as box_ops

# Area of a region, in pixels, that is best for a network pre-trained on crops of 224.
_BEST_AREA = 224.0**2


def scores_and_boxes(model, image, regions, short_side, max_side):
    """Returns what the network says of regions of one photo, before anything is suppressed.

    Args:
      model: of `build_fast_rcnn`.
      image: [h, w, 3] RGB in [0, 255], uint8 or float32.
      regions: [R, 4] xmin, ymin, xmax, ymax in pixels from 0, the last included.
      short_side: pixels the photo's shorter side is resized to.
      max_side: pixels its longer side has at most, float32.

    Returns:
      (scores [R, C] in [0, 1], boxes [R, C, 4] in pixels of the photo, float32).
    """
    resized, scale = resized_photo(image, short_side, max_side)
    rois = tf.pad(tf.cast(regions, tf.float32) * scale, [[0, 0], [1, 0]])
    outputs = model([model.backbone.normalize(resized[None]), rois], training=False)
    scores = tf.nn.softmax(outputs["logits"])[:, 1:]
    boxes = box_ops.decode(regions[:, None], tf.reshape(outputs["codes"], [-1, scores.shape[1], 4]))
    return scores, box_ops.clip(boxes, tf.shape(image)[0], tf.shape(image)[1])


class Detector:
    """`scores_and_boxes` compiled, at one or several scales."""

    def __init__(self, model):
        """Wraps a model of `build_fast_rcnn`."""
        self.model = model

        @tf.function(
            autograph=False,
            input_signature=[
                tf.TensorSpec([None, None, 3], tf.uint8),
                tf.TensorSpec([None, 4], tf.int32),
                tf.TensorSpec([], tf.int32),
                tf.TensorSpec([], tf.float32),
            ],
        )
        def compiled(image, regions, short_side, max_side):
            return scores_and_boxes(model, image, regions, short_side, max_side)

        self._compiled = compiled

    def __call__(self, image, regions, scales, max_side: float):
        """Returns scores [R, C] and boxes [R, C, 4], pixels from 0, of the regions of one photo.

        Each region is looked at in the scale in which its area is nearest 224 x 224.

        Args:
          image: [h, w, 3] uint8.
          regions: [R, 4] int32, pixels from 0.
          scales: shorter sides, pixels.
          max_side: pixels the longer side has at most.
        """
        sides = np.minimum(np.array(scales) / min(image.shape[:2]), max_side / max(image.shape[:2]))
        areas = np.prod(regions[:, 2:] - regions[:, :2] + 1, axis=1, dtype=np.float64)
        chosen = np.argmin(np.abs(areas[:, None] * sides[None] ** 2 - _BEST_AREA), axis=1)
        scores = boxes = None
        for number, scale in enumerate(scales):
            rows = np.flatnonzero(chosen == number)
            if len(rows):
                parts = [
                    value.numpy()
                    for value in self._compiled(
                        image, regions[rows], tf.constant(scale), tf.constant(float(max_side))
                    )
                ]
                if scores is None:
                    scores, boxes = (
                        np.zeros([len(regions), *value.shape[1:]], np.float32) for value in parts
                    )
                scores[rows], boxes[rows] = parts
        return scores, boxes

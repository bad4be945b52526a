"""Whether the features of a backbone tell images apart while it is trained."""

import keras
import numpy as np
import tensorflow as tf

from ccssl_tf.data import image_batches
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.metrics import feature_health

_FEWEST = 10


class Health:
    """Looks at the last map of a backbone, averaged over its places, on the first held-out images.

    A shard is a random sample of its split, so its first images are one that is always the same.
    """

    def __init__(self, backbone: keras.Model, task, count: int):
        """Compiles nothing yet.

        Args:
          backbone: of the model that is trained.
          task: a `ccssl_tf.task.Task` with held-out images.
          count: images looked at, of more.
        """
        self._task, self._count = task, count
        size = task.settings.image_size
        shapes = backbone.compute_output_shape([1, size, size, 3])
        names = backbone.endpoint_names
        name = ([name for name in names if len(shapes[name]) == 4] or names)[-1]
        places = list(range(1, len(shapes[name]) - 1))

        @tf.function(
            autograph=False, input_signature=[tf.TensorSpec([None, size, size, 3], tf.uint8)]
        )
        def pooled(images):
            endpoints = backbone(backbone.normalize(images), training=False)
            return tf.reduce_mean(tf.cast(endpoints[name], tf.float32), axis=places)

        self._pooled = pooled

    def measure(self) -> dict[str, float]:
        """Returns `metrics.feature_health` of the images, with the present weights."""
        settings = self._task.settings
        batch_size = min(settings.eval_batch_size, self._count)
        images = image_batches.evaluation_images(
            settings.data_dir,
            self._task.eval_split,
            image_size=settings.image_size,
            batch_size=batch_size,
        )
        rows, labels = [], []
        for batch in images.take(-(-self._count // batch_size)):
            rows.append(self._pooled(batch["image"]).numpy())
            labels.append(batch["label"].numpy())
        return feature_health.feature_health(
            np.concatenate(rows)[: self._count], np.concatenate(labels)[: self._count]
        )


def health_of(backbone: keras.Model, task, count: int) -> Health | None:
    """Returns a `Health`; None where the task evaluates a backbone, or too few images are held out,
    or to be looked at, for anything to follow from them.
    """
    if task.is_evaluation or not task.eval_split:
        return None
    held_out = Manifest.read(task.settings.data_dir, "images").num_examples(task.eval_split)
    return Health(backbone, task, count) if min(count, held_out) >= _FEWEST else None

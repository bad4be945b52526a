"""Rotation (Gidaris, Singh and Komodakis 2018): how far is the image turned?

The answer is a multiple of 90 degrees. As published all four rotations of an image are in the same
step, so a batch of B images is 4 B network inputs, and the network has batch normalisation and no
LRN (`--normalization=batch_norm`). Other than there, the convolutions keep AlexNet's two groups,
and fc6 and fc7 have its dropout in place of batch normalisation.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from ccssl_tf.layers.per_example_dropout import per_example_seeds
from ccssl_tf.models.heads import build_classifier
from ccssl_tf.pictures.captioned import PLAIN, draw_columns, verdict
from ccssl_tf.task import ImageTask, TaskSettings

NUM_ROTATIONS = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class RotationSettings(TaskSettings):
    """--task=rotation."""


class Rotation(ImageTask):
    """Classifies images by their rotation: 0, 90, 180 or 270 degrees counter-clockwise.

    >>> from ccssl_tf import Epoch, Rotation
    >>> task = Rotation(data_dir=data_dir, image_size=32)
    >>> next(iter(task.dataset("train", Epoch(batch_size=4))))["image"].shape.as_list()
    [4, 32, 32, 3]
    """

    with_fc = True

    Settings = RotationSettings

    def build_model(self, backbone):
        """A classifier of the four rotations over `backbone`."""
        return build_classifier(backbone, NUM_ROTATIONS, self.settings.image_size)

    def loss(self, model, batch, training):
        """Cross-entropy and `accuracy`, each averaged over the image's four rotations.

        Accuracy is the share of rotations recognised.
        """
        images = all_rotations(batch["image"])
        with per_example_seeds(batch["seed"]):
            logits = model(
                model.backbone.normalize(tf.reshape(images, [-1, *images.shape[2:]])),
                training=training,
            )["logits"]
        logits = tf.reshape(logits, [-1, NUM_ROTATIONS, NUM_ROTATIONS])
        labels = tf.broadcast_to(tf.range(NUM_ROTATIONS), tf.shape(logits)[:2])
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        right = tf.cast(tf.equal(tf.argmax(logits, -1, tf.int32), labels), tf.float32)
        return tf.reduce_mean(losses, 1), dict(accuracy=tf.reduce_mean(right, 1))

    def facts(self, model, result=None):
        """Chance level and how the accuracy is computed."""
        return dict(
            chance=1 / NUM_ROTATIONS,
            definition="share of rotations recognised, all four of each held-out image, one "
            "central crop; batch statistics not used",
        )

    def pictures(self, model, result=None):
        """`rotation`: eight images as shown, and turned back by the model's answer."""
        upright = self.pictured_batch(8, model)["image"]
        asked = np.arange(len(upright)) % NUM_ROTATIONS
        shown = all_rotations(upright).numpy()[np.arange(len(upright)), asked]
        answered = np.argmax(model(model.backbone.normalize(shown), training=False)["logits"], -1)
        return dict(
            rotation=draw_columns(
                [
                    [
                        (image, (f"turned by {90 * turns}\N{DEGREE SIGN}", PLAIN)),
                        (
                            np.rot90(image, -answer),
                            (f"model: {90 * answer}\N{DEGREE SIGN}", verdict(answer == turns)),
                        ),
                    ]
                    for image, turns, answer in zip(shown, asked, answered, strict=True)
                ]
            )
        )


def all_rotations(images):
    """Returns images turned counter-clockwise by 0, 90, 180 and 270 degrees.

    Square images [B, S, S, C] of any dtype become [B, 4, S, S, C].
    """
    turned = tf.reverse(tf.transpose(images, [0, 2, 1, 3]), [1])
    all_four = [images, turned, tf.reverse(images, [1, 2]), tf.reverse(turned, [1, 2])]
    # GPUs know how to concatenate pixels of 8 bits, but not how to stack them.
    return tf.concat([one[:, None] for one in all_four], axis=1)

"""Classification of whole images, wherever the classes come from.

They may be labels (`supervised`) or clusters (`cluster_classification`).
"""

import abc

import numpy as np
import tensorflow as tf

from ccssl_tf.data import image_ops, pipeline
from ccssl_tf.layers.per_example_dropout import per_example_seeds
from ccssl_tf.models.heads import build_classifier
from ccssl_tf.pictures.captioned import PLAIN, draw_columns, verdict
from ccssl_tf.task import Epoch, Task


class ImageClassification(Task):
    """A standard classifier of images; a subclass says which class each is of.

    Attributes:
      num_classes: how many there are.
    """

    with_fc = True
    saves_classifier = True

    num_classes: int

    @abc.abstractmethod
    def target(self, split, parsed):
        """Returns the class, a scalar int32, of one parsed record of `split`."""

    @abc.abstractmethod
    def class_name(self, number: int) -> str:
        """Returns what a class is called in pictures."""

    def more_targets(self, split, parsed) -> dict:
        """Returns what a training batch holds of one parsed record for `label_losses`, beside its
        class: nothing.
        """
        return {}

    def label_losses(self, batch, logits, training):
        """Returns the losses [B] float32 of logits [B, K] against what a batch asks for: the
        cross-entropy with the class.
        """
        return tf.nn.sparse_softmax_cross_entropy_with_logits(batch["target"], logits)

    def copies(self, split: str, epoch: Epoch):
        """Returns how often each image of `split` comes in a training epoch, [N] int32 by index.

        None: once each.
        """
        return None

    def dataset(self, split, epoch, model=None):
        """Batches of `target` [B] int32 and `image` [B, S, S, 3] uint8.

        Random mirrored crops in training, the centre otherwise.
        """
        size = self.settings.image_size

        def load(parsed):
            target = self.target(split, parsed)
            if not epoch.training:
                return dict(image=image_ops.evaluation_crop(parsed["encoded"], size), target=target)
            image = image_ops.augmented_crop(parsed["encoded"], size, parsed["seed"])
            return dict(image=image, target=target, **self.more_targets(split, parsed))

        copies = self.copies(split, epoch) if epoch.training else None
        return pipeline.batches(self.settings.data_dir, split, epoch, load=load, copies=copies)

    def build_model(self, backbone):
        """A classifier of the classes over `backbone`."""
        return build_classifier(backbone, self.num_classes, self.settings.image_size)

    def loss(self, model, batch, training):
        """The losses of `label_losses`, and `accuracy`."""
        with per_example_seeds(batch["seed"]):
            logits = model(model.backbone.normalize(batch["image"]), training=training)["logits"]
        losses = self.label_losses(batch, logits, training)
        return losses, dict(
            accuracy=tf.cast(tf.equal(tf.argmax(logits, -1, tf.int32), batch["target"]), tf.float32)
        )

    def asked(self, batch):
        """Returns the classes [B] int that pictures say are asked for."""
        return batch["target"]

    def pictures(self, model, result=None):
        """`classification`: eight images, the class asked for and the one the model answers."""
        batch = self.pictured_batch(8, model)
        images, asked = batch["image"].numpy(), np.asarray(self.asked(batch))
        probabilities = tf.nn.softmax(
            model(model.backbone.normalize(images), training=False)["logits"]
        ).numpy()
        columns = []
        for image, target, likely in zip(images, asked, probabilities, strict=True):
            answer = int(np.argmax(likely))
            lines = (
                (self.class_name(int(target)), PLAIN),
                (f"{self.class_name(answer)} {likely[answer]:.0%}", verdict(answer == target)),
            )
            columns.append([(image, *lines)])
        return dict(classification=draw_columns(columns))

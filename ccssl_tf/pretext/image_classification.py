"""Classification of whole images, wherever the classes come from: labels (`supervised`) or clusters
(`cluster_classification`).
"""

import abc

import numpy as np
import tensorflow as tf

from ccssl_tf.data import image_ops, pipeline
from ccssl_tf.layers.per_example_dropout import per_example_seeds
from ccssl_tf.models.heads import build_classifier
from ccssl_tf.task import Task


class ImageClassification(Task):
    """A standard classifier of images; a subclass says which class each is of and how the classes
    are called.
    """

    with_fc = True
    saves_classifier = True

    def __init__(self, *, data_dir, image_size, num_classes, eval_split, eval_batch_size=64):
        """Args: eval_split: the held-out split; None where there is none."""
        self.data_dir, self.image_size, self.eval_batch_size = data_dir, image_size, eval_batch_size
        self.num_classes, self.eval_split = num_classes, eval_split

    @abc.abstractmethod
    def target(self, split, parsed):
        """Returns the class, a scalar int32, of one parsed record of `split`."""

    @abc.abstractmethod
    def class_name(self, number: int) -> str:
        """Returns what a class is called in pictures."""

    def copies(self, split: str, epoch_seed):
        """Returns how often each image of `split` comes in a training epoch, [N] int32 by index;
        None: once each.
        """
        return None

    def dataset(self, split, batch_size, training, epoch_seed, first_batch=0):
        """Batches of `target` [B] int32 and `image` [B, S, S, 3] uint8: random mirrored crops in
        training, the centre otherwise.
        """

        def load(parsed):
            if training:
                image = image_ops.augmented_crop(parsed["encoded"], self.image_size, parsed["seed"])
            else:
                image = image_ops.evaluation_crop(parsed["encoded"], self.image_size)
            return dict(image=image, target=self.target(split, parsed))

        options = dict(
            batch_size=batch_size, training=training, epoch_seed=epoch_seed, first_batch=first_batch
        )
        copies = self.copies(split, epoch_seed) if training else None
        return pipeline.batches(self.data_dir, split, load=load, copies=copies, **options)

    def build_model(self, backbone):
        """A classifier of the classes over `backbone`."""
        return build_classifier(backbone, self.num_classes, self.image_size)

    def loss(self, model, batch, training):
        """Cross-entropy with the class, and `accuracy`."""
        with per_example_seeds(batch["seed"]):
            logits = model(model.backbone.normalize(batch["image"]), training=training)["logits"]
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(batch["target"], logits)
        return losses, dict(
            accuracy=tf.cast(tf.equal(tf.argmax(logits, -1, tf.int32), batch["target"]), tf.float32)
        )

    def asked(self, batch):
        """Returns the classes [B] int that pictures say are asked for."""
        return batch["target"]

    def pictures(self, model):
        """`classification`: eight images, the class asked for and the one the model answers."""
        from ccssl_tf.pictures.captioned import PLAIN, draw_columns, verdict

        batch = next(
            iter(self.dataset(self.eval_split or "train", 8, training=False, epoch_seed=(0, 0)))
        )
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

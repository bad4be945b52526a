"""Supervised: the labels are the task. No pretext task, but the paper's upper line (row Supervised
of its tables).
"""

import tensorflow as tf

from ccssl_tf import network_flags, stage_flags
from ccssl_tf.data import labels
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.pretext.image_classification import ImageClassification


class Supervised(ImageClassification):
    """Classifies images by their class labels."""

    def __init__(self, *, data_dir, image_size, eval_batch_size=64):
        """Checks that the images have labels.

        Args:
          data_dir: image shards with labels, split train and maybe val.
          image_size: S, pixels.
          eval_batch_size: images.

        Raises:
          InputError: the images have no class labels.
        """
        splits = [
            split
            for split in ("train", "val")
            if split == "train" or split in Manifest.read(data_dir, "images").splits
        ]
        self.class_names = labels.class_names(data_dir, splits=splits)
        super().__init__(
            data_dir=data_dir,
            image_size=image_size,
            num_classes=len(self.class_names),
            eval_split="val" if "val" in splits else None,
            eval_batch_size=eval_batch_size,
        )

    @classmethod
    def from_flags(cls):
        """Reads the flags of data and image size."""
        return cls(data_dir=stage_flags.DATA_DIR.value, image_size=network_flags.IMAGE_SIZE.value)

    def target(self, split, parsed):
        """The label."""
        return tf.cast(
            labels.checked_label(parsed, self.data_dir, split, self.num_classes), tf.int32
        )

    def class_name(self, number):
        """The label's name."""
        return self.class_names[number]

    def facts(self):
        """Chance level and how the accuracy is computed."""
        return dict(
            chance=1 / self.num_classes,
            num_classes=self.num_classes,
            definition="top-1, one central crop; chance is a guess among the classes",
        )

"""Supervised: the labels are the task.

No pretext task, but the paper's upper line (row Supervised of its tables).
"""

import dataclasses

import tensorflow as tf

from ccssl_tf.data import image_batches, labels
from ccssl_tf.pretext.image_classification import ImageClassification
from ccssl_tf.task import TaskSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class SupervisedSettings(TaskSettings):
    """--task=supervised."""


class Supervised(ImageClassification):
    """Classifies images by their class labels.

    >>> from ccssl_tf import Epoch, Supervised
    >>> task = Supervised(data_dir=data_dir, image_size=32)
    >>> next(iter(task.dataset("train", Epoch(batch_size=4))))["image"].shape.as_list()
    [4, 32, 32, 3]
    """

    Settings = SupervisedSettings

    def __init__(self, settings: SupervisedSettings | None = None, **fields):
        """Takes the settings or their fields; splits are train and, where it is there, val.

        Raises:
          InputError: the images have no class labels.
        """
        super().__init__(settings, **fields)
        data_dir = self.settings.data_dir
        self.eval_split = image_batches.held_out_split(data_dir)
        splits = ["train", self.eval_split] if self.eval_split else ["train"]
        self.class_names = labels.class_names(data_dir, splits=splits)
        self.num_classes = len(self.class_names)

    def target(self, split, parsed):
        """The label."""
        return tf.cast(
            labels.checked_label(parsed, self.settings.data_dir, split, self.num_classes), tf.int32
        )

    def class_name(self, number):
        """The label's name."""
        return self.class_names[number]

    def facts(self, model, result=None):
        """Chance level and how the accuracy is computed."""
        return dict(
            chance=1 / self.num_classes,
            num_classes=self.num_classes,
            class_names=self.class_names,
            definition="top-1, one central crop; chance is a guess among the classes",
        )

"""(d) Cluster classification (paper section 3.3): a network learns to predict the pseudo-labels of
clustered features.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from ccssl_tf.clustering.pseudo_labels import read_pseudo_labels
from ccssl_tf.data.balanced_sampling import balanced_copies
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.pretext.image_classification import ImageClassification
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.runs.settings import SeedSettings, setting
from ccssl_tf.task import TaskSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class PseudoLabelSettings(SeedSettings):
    """Which pseudo-labels are learned, and of which images."""

    pseudo_labels: str | None = setting(
        None, "Directory of pseudo-labels written by ccssl_tf.cluster."
    )
    balanced_sampling: bool = setting(
        False,
        "Train on every cluster equally often, its images in turn (DeepCluster); the paper does "
        "not say that it does.",
    )
    shuffle_labels: bool = setting(
        False,
        "Control: deal the training pseudo-labels out to other training images, by the seed; "
        "those of val stay true.",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClusterClassificationSettings(TaskSettings, PseudoLabelSettings):
    """--task=cluster_classification."""

    def check(self):
        """There is nothing to learn without pseudo-labels."""
        super().check()
        if not self.pseudo_labels:
            raise FlagError(
                "--task=cluster_classification needs --pseudo_labels=DIR, a directory written by "
                "ccssl_tf.cluster"
            )


class ClusterClassification(ImageClassification):
    """Classifies images into the clusters they were assigned to, their pseudo-labels.

    >>> from ccssl_tf import ClusterClassification
    >>> task = ClusterClassification(data_dir=data_dir, pseudo_labels=pseudo_labels)
    >>> task.num_classes
    4
    """

    Settings = ClusterClassificationSettings

    def __init__(self, settings: ClusterClassificationSettings | None = None, **fields):
        """Takes the settings or their fields; reads the pseudo-labels of every split that has them.

        With `shuffle_labels` they say what the sizes of the clusters and the training alone teach,
        without what the clusters say of the images.

        Raises:
          InputError: the pseudo-labels were made from other images (both fingerprints are printed),
            there are not as many of them as images, or all training images are in one cluster.
        """
        super().__init__(settings, **fields)
        settings = self.settings
        data_dir, directory = settings.data_dir, settings.pseudo_labels
        images = Manifest.read(data_dir, "images")
        made = Manifest.read(directory, "pseudo_labels")
        labels = {
            split: read_pseudo_labels(directory, split, images.fingerprint(split))
            for split in sorted({"train", *made.splits} & {"train", *images.splits})
        }
        for split, of_split in labels.items():
            if len(of_split) != images.num_examples(split):
                raise InputError(
                    f"{directory}: split {split} has {len(of_split)} pseudo-labels for the "
                    f"{images.num_examples(split)} images of {data_dir}; cluster again"
                )
        if np.ptp(labels["train"]) == 0:
            raise InputError(
                f"{directory}: all training images are in one cluster; there is nothing to "
                "learn from it"
            )
        if settings.shuffle_labels:
            labels["train"] = np.random.default_rng(settings.seed).permutation(labels["train"])
        self.labels = {split: tf.constant(of_split, tf.int32) for split, of_split in labels.items()}
        self.num_classes = made.info["num_clusters"]
        self.eval_split = "val" if "val" in self.labels else None

    def target(self, split, parsed):
        """The pseudo-label."""
        return tf.gather(self.labels[split], parsed["index"])

    def copies(self, split, epoch):
        """With balanced sampling, as many as make every cluster come equally often."""
        if not self.settings.balanced_sampling:
            return None
        return balanced_copies(self.labels[split].numpy(), epoch)

    def class_name(self, number):
        """The cluster's number."""
        return f"cluster {number}"

    def inputs(self):
        """The pseudo-labels."""
        return dict(pseudo_labels=self.settings.pseudo_labels)

    def facts(self, model, result=None):
        """Number of clusters, what always answering the largest one would score, and how the
        training images were chosen and labelled.
        """
        settings = self.settings
        counts = {
            split: np.bincount(labels, minlength=self.num_classes)
            for split, labels in self.labels.items()
        }
        chance = {split: float(count.max() / count.sum()) for split, count in counts.items()}
        if settings.balanced_sampling:
            chance["train"] = 1 / np.count_nonzero(counts["train"])
        definition = (
            "share of images whose pseudo-label is predicted, one central crop; chance is "
            "always answering the largest cluster"
        )
        if settings.shuffle_labels:
            definition += "; control: training images had the pseudo-labels of others"
        return dict(
            num_clusters=self.num_classes,
            empty_clusters=int(np.count_nonzero(counts["train"] == 0)),
            chance=chance,
            balanced_sampling=settings.balanced_sampling,
            shuffled_labels=settings.shuffle_labels,
            definition=definition,
        )

"""(d) Cluster classification (paper section 3.3): a network learns to predict the pseudo-labels of
clustered features.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from ccssl_tf.clustering import pseudo_labels
from ccssl_tf.data.balanced_sampling import balanced_copies
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.knowledge_transfer import label_confidence
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
    label_temperature: float = setting(
        0.0,
        "Learn soft pseudo-labels: softmax(-d^2 / T) over the nearest centroids, T in units of the "
        "mean squared distance to the nearest one. 0, as in the paper: hard labels.",
        minimum=0,
    )
    min_margin: float = setting(
        0.0,
        "Train only on images whose margin, as in clusters.csv (distance to the second nearest "
        "centroid less that to the nearest), is at least this. 0, as in the paper: on all.",
        minimum=0,
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

    Attributes:
      labels: split -> [N] int32, the pseudo-labels by image index.
      is_learned: [N] bool, which training images are trained on.

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
            there are not as many of them as images, all training images are in one cluster, their
            margins are all too small, or the nearest centroids that soft labels or margins take
            were not kept.
        """
        super().__init__(settings, **fields)
        settings = self.settings
        data_dir, directory = settings.data_dir, settings.pseudo_labels
        images = Manifest.read(data_dir, "images")
        made = Manifest.read(directory, "pseudo_labels")
        read = {
            split: pseudo_labels.read_split(directory, split, images.fingerprint(split))
            for split in sorted({"train", *made.splits} & {"train", *images.splits})
        }
        for split, of_split in read.items():
            if len(of_split.labels) != images.num_examples(split):
                raise InputError(
                    f"{directory}: split {split} has {len(of_split.labels)} pseudo-labels for the "
                    f"{images.num_examples(split)} images of {data_dir}; cluster again"
                )
        train, labels = read["train"], {split: part.labels for split, part in read.items()}
        self.is_learned = label_confidence.has_margin(train, settings.min_margin, directory)
        self._left_out = float(1 - self.is_learned.mean())
        if settings.min_margin:
            print(
                f"--min_margin={settings.min_margin:g}: leaves out {self._left_out:.2%} of "
                f"{len(self.is_learned)} training images",
                flush=True,
            )
        learned = np.flatnonzero(self.is_learned)
        if np.ptp(train.labels[learned]) == 0:
            raise InputError(
                f"{directory}: all training images are in one cluster; there is nothing to "
                "learn from it"
            )
        dealt = np.arange(len(train.labels))
        if settings.shuffle_labels:
            dealt[learned] = np.random.default_rng(settings.seed).permutation(learned)
        labels["train"] = train.labels[dealt]
        self.labels = {split: tf.constant(of_split, tf.int32) for split, of_split in labels.items()}
        self._nearest = self._probabilities = None
        if settings.label_temperature:
            likely = label_confidence.soft_labels(train, settings.label_temperature, directory)
            self._mean_label_probability = float(likely[learned, 0].mean(dtype=np.float64))
            self._nearest = tf.constant(train.nearest[dealt])
            self._probabilities = tf.constant(likely[dealt])
        self.num_classes = made.info["num_clusters"]
        self.eval_split = "val" if "val" in self.labels else None

    def target(self, split, parsed):
        """The pseudo-label."""
        return tf.gather(self.labels[split], parsed["index"])

    def more_targets(self, split, parsed):
        """With soft labels the nearest clusters [n] int32 and their probabilities [n] float32."""
        if self._nearest is None or split != "train":
            return {}
        place = parsed["index"]
        return dict(
            nearest=tf.gather(self._nearest, place),
            probabilities=tf.gather(self._probabilities, place),
        )

    def label_losses(self, batch, logits, training):
        """The cross-entropy with the pseudo-label; in training with soft labels the mean of those
        with the nearest clusters.
        """
        if not training or self._nearest is None:
            return super().label_losses(batch, logits, training)
        losses = [
            tf.nn.sparse_softmax_cross_entropy_with_logits(batch["nearest"][:, column], logits)
            for column in range(self._nearest.shape[1])
        ]
        return tf.reduce_sum(batch["probabilities"] * tf.stack(losses, axis=1), axis=1)

    def copies(self, split, epoch):
        """With balanced sampling, as many as make every cluster come equally often; none of images
        that are not trained on.
        """
        if split != "train" or not (self.settings.balanced_sampling or self.settings.min_margin):
            return None
        copies = self.is_learned.astype(np.int32)
        if self.settings.balanced_sampling:
            labels = self.labels[split].numpy()[self.is_learned]
            copies[self.is_learned] = balanced_copies(labels, epoch)
        return copies

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
        labels = {split: of_split.numpy() for split, of_split in self.labels.items()}
        labels["train"] = labels["train"][self.is_learned]
        counts = {
            split: np.bincount(of_split, minlength=self.num_classes)
            for split, of_split in labels.items()
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
        soft = {}
        if settings.label_temperature:
            soft = dict(mean_label_probability=self._mean_label_probability)
            definition += "; the training loss is that of soft labels"
        return dict(
            **soft,
            label_temperature=settings.label_temperature,
            min_margin=settings.min_margin,
            left_out=self._left_out,
            num_clusters=self.num_classes,
            empty_clusters=int(np.count_nonzero(counts["train"] == 0)),
            chance=chance,
            balanced_sampling=settings.balanced_sampling,
            shuffled_labels=settings.shuffle_labels,
            definition=definition,
        )

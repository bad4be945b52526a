"""(d) Cluster classification (paper section 3.3): a network learns to predict the pseudo-labels of
clustered features.
"""

import numpy as np
import tensorflow as tf
from absl import flags

from ccssl_tf import network_flags, stage_flags
from ccssl_tf.clustering.pseudo_labels import read_pseudo_labels
from ccssl_tf.data.balanced_sampling import balanced_copies
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.pretext.image_classification import ImageClassification
from ccssl_tf.runs import launch
from ccssl_tf.runs.errors import FlagError, InputError

_PSEUDO_LABELS = flags.DEFINE_string(
    "pseudo_labels", None, "Directory of pseudo-labels written by ccssl_tf.cluster."
)
_BALANCED = flags.DEFINE_bool(
    "balanced_sampling",
    False,
    "Train on every cluster equally often, its images in turn (DeepCluster); the paper does not "
    "say that it does.",
)
_SHUFFLE = flags.DEFINE_bool(
    "shuffle_labels",
    False,
    "Control: deal the training pseudo-labels out to other training images, by the seed; those of "
    "val stay true.",
)


class ClusterClassification(ImageClassification):
    """Classifies images into the clusters they were assigned to, as a standard classifier would
    classes.
    """

    def __init__(
        self,
        *,
        data_dir,
        pseudo_labels_dir,
        image_size,
        balanced_sampling=False,
        shuffle_labels=False,
        seed=0,
        eval_batch_size=64,
    ):
        """Reads the pseudo-labels of every split that has them.

        Args:
          data_dir: image shards.
          pseudo_labels_dir: written by `ccssl_tf.cluster` for these images.
          image_size: S, pixels.
          balanced_sampling: whether training sees every cluster equally often.
          shuffle_labels: whether the pseudo-labels of train are dealt out to other images of train:
            what the sizes of the clusters and the training alone teach, without what the clusters
            say of the images.
          seed: of that permutation.
          eval_batch_size: images.

        Raises:
          InputError: the pseudo-labels were made from other images (both fingerprints are printed),
            there are not as many of them as images, or all training images are in one cluster.
        """
        images = Manifest.read(data_dir, "images")
        made = Manifest.read(pseudo_labels_dir, "pseudo_labels")
        self.pseudo_labels_dir = pseudo_labels_dir
        self.balanced_sampling, self.shuffle_labels = balanced_sampling, shuffle_labels
        labels = {
            split: read_pseudo_labels(pseudo_labels_dir, split, images.fingerprint(split))
            for split in sorted({"train", *made.splits} & {"train", *images.splits})
        }
        for split, of_split in labels.items():
            if len(of_split) != images.num_examples(split):
                raise InputError(
                    f"{pseudo_labels_dir}: split {split} has {len(of_split)} pseudo-labels for the "
                    f"{images.num_examples(split)} images of "
                    f"{data_dir}; cluster again"
                )
        if np.ptp(labels["train"]) == 0:
            raise InputError(
                f"{pseudo_labels_dir}: all training images are in one cluster; there is nothing to "
                "learn from it"
            )
        if shuffle_labels:
            labels["train"] = np.random.default_rng(seed).permutation(labels["train"])
        self.labels = {split: tf.constant(of_split, tf.int32) for split, of_split in labels.items()}
        super().__init__(
            data_dir=data_dir,
            image_size=image_size,
            num_classes=made.info["num_clusters"],
            eval_split="val" if "val" in self.labels else None,
            eval_batch_size=eval_batch_size,
        )

    @classmethod
    def from_flags(cls):
        """Reads --pseudo_labels and the flags of data and image size."""
        if not _PSEUDO_LABELS.value:
            raise FlagError(
                "--task=cluster_classification needs --pseudo_labels=DIR, a directory written by "
                "ccssl_tf.cluster"
            )
        return cls(
            data_dir=stage_flags.DATA_DIR.value,
            pseudo_labels_dir=_PSEUDO_LABELS.value,
            image_size=network_flags.IMAGE_SIZE.value,
            balanced_sampling=_BALANCED.value,
            shuffle_labels=_SHUFFLE.value,
            seed=launch.SEED.value,
        )

    def target(self, split, parsed):
        """The pseudo-label."""
        return tf.gather(self.labels[split], parsed["index"])

    def copies(self, split, epoch_seed):
        """With balanced sampling, as many as make every cluster come equally often."""
        return (
            balanced_copies(self.labels[split].numpy(), epoch_seed)
            if self.balanced_sampling
            else None
        )

    def class_name(self, number):
        """The cluster's number."""
        return f"cluster {number}"

    def inputs(self):
        """The pseudo-labels."""
        return dict(pseudo_labels=self.pseudo_labels_dir)

    def facts(self):
        """Number of clusters, what always answering the largest one would score, and how the
        training images were chosen and labelled.
        """
        counts = {
            split: np.bincount(labels, minlength=self.num_classes)
            for split, labels in self.labels.items()
        }
        chance = {split: float(count.max() / count.sum()) for split, count in counts.items()}
        if self.balanced_sampling:
            chance["train"] = 1 / np.count_nonzero(counts["train"])
        definition = (
            "share of images whose pseudo-label is predicted, one central crop; chance is "
            "always answering the largest cluster"
        )
        if self.shuffle_labels:
            definition += "; control: training images had the pseudo-labels of others"
        return dict(
            num_clusters=self.num_classes,
            empty_clusters=int(np.count_nonzero(counts["train"] == 0)),
            chance=chance,
            balanced_sampling=self.balanced_sampling,
            shuffled_labels=self.shuffle_labels,
            definition=definition,
        )

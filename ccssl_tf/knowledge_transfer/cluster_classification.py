"""(d) Cluster classification (paper section 3.3): a network learns to predict the pseudo-labels of clustered features."""

import tensorflow as tf
from absl import flags

from ccssl_tf import network_flags, stage_flags
from ccssl_tf.clustering.pseudo_labels import read_pseudo_labels
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.errors import FlagError
from ccssl_tf.pretext.image_classification import ImageClassification

_PSEUDO_LABELS = flags.DEFINE_string("pseudo_labels", None, "Directory of pseudo-labels written by ccssl_tf.cluster.")


class ClusterClassification(ImageClassification):
    """Classifies images into the clusters they were assigned to, as a standard classifier would classes."""

    def __init__(self, *, data_dir, pseudo_labels_dir, image_size, eval_batch_size=64):
        """Reads the pseudo-labels of every split that has them.

        Args:
          data_dir: image shards.
          pseudo_labels_dir: written by `ccssl_tf.cluster` for these images.
          image_size: S, pixels.
          eval_batch_size: images.

        Raises:
          InputError: the pseudo-labels were made from other images (both fingerprints are printed).
        """
        images = Manifest.read(data_dir, "images")
        made = Manifest.read(pseudo_labels_dir, "pseudo_labels")
        self.pseudo_labels_dir = pseudo_labels_dir
        self.labels = {
            split: tf.constant(read_pseudo_labels(pseudo_labels_dir, split, images.fingerprint(split)), tf.int32)
            for split in sorted({"train", *made.splits} & {"train", *images.splits})
        }
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
            raise FlagError("--task=cluster_classification needs --pseudo_labels=DIR, a directory written by ccssl_tf.cluster")
        return cls(data_dir=stage_flags.DATA_DIR.value, pseudo_labels_dir=_PSEUDO_LABELS.value, image_size=network_flags.IMAGE_SIZE.value)

    def target(self, split, parsed):
        """The pseudo-label."""
        return tf.gather(self.labels[split], parsed["index"])

    def class_name(self, number):
        """The cluster's number."""
        return f"cluster {number}"

    def inputs(self):
        """The pseudo-labels."""
        return dict(pseudo_labels=self.pseudo_labels_dir)

    def facts(self):
        """Number of clusters and the share of the largest: what always answering it would score."""
        counts = {split: tf.math.bincount(labels, minlength=self.num_classes) for split, labels in self.labels.items()}
        return dict(
            num_clusters=self.num_classes,
            chance={split: float(tf.reduce_max(count) / tf.reduce_sum(count)) for split, count in counts.items()},
            definition="share of images whose pseudo-label is predicted, one central crop; chance is always answering the largest cluster",
        )

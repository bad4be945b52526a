"""(d) Cluster classification (paper section 3.3): a network learns to predict the pseudo-labels of clustered features."""

import tensorflow as tf
from absl import flags

from ccssl_tf import network_flags, stage_flags
from ccssl_tf.clustering.pseudo_labels import read_pseudo_labels
from ccssl_tf.data import image_ops, pipeline
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.errors import FlagError
from ccssl_tf.layers.per_example_dropout import per_example_seeds
from ccssl_tf.models.heads import build_classifier
from ccssl_tf.task import Task

_PSEUDO_LABELS = flags.DEFINE_string("pseudo_labels", None, "Directory of pseudo-labels written by ccssl_tf.cluster.")


class ClusterClassification(Task):
    """Classifies images into the clusters they were assigned to, as a standard classifier would classes."""

    with_fc = True
    saves_classifier = True

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
        self.data_dir, self.image_size, self.eval_batch_size = data_dir, image_size, eval_batch_size
        self.pseudo_labels_dir = pseudo_labels_dir
        self.num_clusters = made.info["num_clusters"]
        self.labels = {
            split: tf.constant(read_pseudo_labels(pseudo_labels_dir, split, images.fingerprint(split)), tf.int32)
            for split in sorted({"train", *made.splits} & {"train", *images.splits})
        }

    @classmethod
    def from_flags(cls):
        """Reads --pseudo_labels and the flags of data and image size."""
        if not _PSEUDO_LABELS.value:
            raise FlagError("--task=cluster_classification needs --pseudo_labels=DIR, a directory written by ccssl_tf.cluster")
        return cls(data_dir=stage_flags.DATA_DIR.value, pseudo_labels_dir=_PSEUDO_LABELS.value, image_size=network_flags.IMAGE_SIZE.value)

    def dataset(self, split, batch_size, training, epoch_seed, first_batch=0):
        """Batches of `pseudo_label` [B] and `image` [B, S, S, 3] uint8: random mirrored crops in training, the centre otherwise."""

        def load(parsed):
            if training:
                image = image_ops.augmented_crop(parsed["encoded"], self.image_size, parsed["seed"])
            else:
                image = image_ops.evaluation_crop(parsed["encoded"], self.image_size)
            return dict(image=image, pseudo_label=tf.gather(self.labels[split], parsed["index"]))

        options = dict(batch_size=batch_size, training=training, epoch_seed=epoch_seed, first_batch=first_batch)
        return pipeline.batches(self.data_dir, split, load=load, **options)

    def build_model(self, backbone):
        """A classifier of K clusters over `backbone`."""
        return build_classifier(backbone, self.num_clusters, self.image_size)

    def loss(self, model, batch, training):
        """Cross-entropy with the pseudo-label, and `accuracy`."""
        with per_example_seeds(batch["seed"]):
            logits = model(model.backbone.normalize(batch["image"]), training=training)["logits"]
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(batch["pseudo_label"], logits)
        return losses, dict(accuracy=tf.cast(tf.equal(tf.argmax(logits, -1, tf.int32), batch["pseudo_label"]), tf.float32))

    def evaluate(self, model):
        """Loss and accuracy on the held-out images' pseudo-labels, where they have them."""
        return self.mean_over_split(model, "val", self.eval_batch_size) if "val" in self.labels else {}

    def inputs(self):
        """The pseudo-labels."""
        return dict(pseudo_labels=self.pseudo_labels_dir)

    def facts(self):
        """Number of clusters and the share of the largest: what always answering it would score."""
        counts = {split: tf.math.bincount(labels, minlength=self.num_clusters) for split, labels in self.labels.items()}
        return dict(
            num_clusters=self.num_clusters,
            chance={split: float(tf.reduce_max(count) / tf.reduce_sum(count)) for split, count in counts.items()},
            definition="share of images whose pseudo-label is predicted, one central crop; chance is always answering the largest cluster",
        )

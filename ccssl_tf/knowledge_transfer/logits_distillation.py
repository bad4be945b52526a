"""Logits distillation (Hinton, Vinyals and Dean 2015): the student learns the teacher's softened
answers, and labels where there are any.

    loss = alpha T^2 KL(softmax(teacher / T) || softmax(student / T)) + (1 - alpha)
    cross-entropy(label, student),   T = 4, alpha = 0.9

with the constants of Zagoruyko and Komodakis's code (experiments/PROTOCOLS.md, "Distillation").
Without labels the loss is its first term, alpha 1. The teacher, a classifier this project trained,
sees the student's crop.
"""

import tensorflow as tf
from absl import flags

from ccssl_tf import network_flags, stage_flags
from ccssl_tf.data import pipeline
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.knowledge_transfer import teacher
from ccssl_tf.knowledge_transfer.cluster_classification import ClusterClassification
from ccssl_tf.layers.per_example_dropout import per_example_seeds
from ccssl_tf.pretext.image_classification import ImageClassification
from ccssl_tf.pretext.supervised import Supervised
from ccssl_tf.runs.errors import InputError

_TEMPERATURE = flags.DEFINE_float(
    "distillation_temperature",
    4.0,
    "T that divides the logits (4 in attention transfer's code).",
    1e-3,
)
_WEIGHT = flags.DEFINE_float(
    "distillation_weight",
    0.9,
    "alpha, share of the softened answers in the loss; the labels have the rest (0.9).",
    0,
    1,
)
_HARD_LABELS = flags.DEFINE_bool(
    "hard_labels",
    True,
    "In logits_distillation learn labels besides the teacher's answers: --pseudo_labels where "
    "given, else the images' own, if any.",
)


class LogitsDistillation(ImageClassification):
    """Trains a classifier on the softened answers of a frozen one."""

    def __init__(
        self, *, data_dir, image_size, teacher_path, labels, temperature, weight, eval_batch_size=64
    ):
        """Looks up how many classes the teacher knows.

        Args:
          data_dir: image shards.
          image_size: S, pixels; the teacher's.
          teacher_path: workdir with a classifier.keras.
          labels: an ImageClassification task that says which label an image has; None: there are
            none.
          temperature: T.
          weight: alpha; not used without labels.
          eval_batch_size: images.

        Raises:
          InputError: the teacher has no logits, is for another size, or there are labels of more or
            fewer classes than it knows.
        """
        self.teacher_path, self.labels, self.temperature = teacher_path, labels, temperature
        self.weight = weight if labels else 1.0
        num_classes = teacher.load_classifier(teacher_path, image_size).get_layer("logits").units
        if labels and labels.num_classes != num_classes:
            raise InputError(
                f"--teacher_backbone={teacher_path}: answers {num_classes} classes, and the labels "
                f"have {labels.num_classes}; "
                "name the teacher's --pseudo_labels, or learn its answers alone (--nohard_labels)"
            )
        super().__init__(
            data_dir=data_dir,
            image_size=image_size,
            num_classes=num_classes,
            eval_split=labels.eval_split if labels else pipeline.held_out_split(data_dir),
            eval_batch_size=eval_batch_size,
        )

    @classmethod
    def from_flags(cls):
        """Reads this module's flags, --teacher_backbone, --pseudo_labels and those of data and
        image size.
        """
        return cls(
            data_dir=stage_flags.DATA_DIR.value,
            image_size=network_flags.IMAGE_SIZE.value,
            teacher_path=teacher.path_from_flags("logits_distillation"),
            labels=_labels_from_flags() if _HARD_LABELS.value else None,
            temperature=_TEMPERATURE.value,
            weight=_WEIGHT.value,
        )

    def target(self, split, parsed):
        """The label; -1 where there are none."""
        return self.labels.target(split, parsed) if self.labels else tf.constant(-1)

    def copies(self, split, epoch_seed):
        """As training on the labels alone would have it."""
        return self.labels.copies(split, epoch_seed) if self.labels else None

    def class_name(self, number):
        """The label's name, or the number of the teacher's answer."""
        return self.labels.class_name(number) if self.labels else f"class {number}"

    def build_model(self, backbone):
        """A classifier of the teacher's classes; loads the teacher."""
        model = super().build_model(backbone)
        self._teacher = teacher.load_classifier(self.teacher_path, self.image_size)
        return model

    def loss(self, model, batch, training):
        """The loss; `soft_loss` (its first term, without alpha), `agreement` with the teacher's
        first answer, `accuracy` on labels.
        """
        with per_example_seeds(batch["seed"]):
            logits = model(model.backbone.normalize(batch["image"]), training=training)["logits"]
        taught = tf.cast(teacher.ask(self._teacher, batch["image"])["logits"], tf.float32)
        soft_losses = softened_divergence(logits, taught, self.temperature)
        answers = tf.argmax(logits, -1, tf.int32)
        metrics = dict(
            soft_loss=soft_losses,
            agreement=tf.cast(tf.equal(answers, tf.argmax(taught, -1, tf.int32)), tf.float32),
        )
        if not self.labels:
            return soft_losses, metrics
        hard_losses = tf.nn.sparse_softmax_cross_entropy_with_logits(batch["target"], logits)
        metrics["accuracy"] = tf.cast(tf.equal(answers, batch["target"]), tf.float32)
        return self.weight * soft_losses + (1 - self.weight) * hard_losses, metrics

    def asked(self, batch):
        """The teacher's first answers."""
        return tf.argmax(teacher.ask(self._teacher, batch["image"])["logits"], -1)

    def inputs(self):
        """The teacher, and the pseudo-labels where there are any."""
        return dict(self.labels.inputs() if self.labels else {}, teacher_backbone=self.teacher_path)

    def facts(self):
        """The teacher, T and alpha, the chance level of the labels, and how the numbers are
        computed.
        """
        of_labels = (
            self.labels.facts()
            if self.labels
            else dict(chance=1 / self.num_classes, definition="no labels")
        )
        return dict(
            of_labels,
            **teacher.facts(self._teacher),
            temperature=self.temperature,
            distillation_weight=self.weight,
            definition=of_labels["definition"]
            + "; agreement: share of images answered as the teacher does, one central crop",
        )


def softened_divergence(logits, taught, temperature: float):
    """Returns T^2 KL(softmax(taught / T) || softmax(logits / T)) [B] float32 of logits [B, K]
    float32.
    """
    log_taught, log_answer = (tf.nn.log_softmax(value / temperature) for value in (taught, logits))
    return temperature**2 * tf.reduce_sum(tf.exp(log_taught) * (log_taught - log_answer), -1)


def _labels_from_flags():
    """The task whose labels are learnt too: that of --pseudo_labels, else that of the images' own
    labels, else None.
    """
    if flags.FLAGS.pseudo_labels:
        return ClusterClassification.from_flags()
    if Manifest.read(stage_flags.DATA_DIR.value, "images").info.get("class_names"):
        return Supervised.from_flags()
    return None

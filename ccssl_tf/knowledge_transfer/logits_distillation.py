"""Logits distillation (Hinton, Vinyals and Dean 2015): the student learns the teacher's softened
answers, and labels where there are any.

    loss = alpha T^2 KL(softmax(teacher / T) || softmax(student / T)) + (1 - alpha)
    cross-entropy(label, student),   T = 4, alpha = 0.9

with the constants of Zagoruyko and Komodakis's code (experiments/PROTOCOLS.md, "Distillation").
Without labels the loss is its first term, alpha 1. The teacher, a classifier this project trained,
sees the student's crop.
"""

import dataclasses

import tensorflow as tf

from ccssl_tf.data import image_batches
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.knowledge_transfer import teacher
from ccssl_tf.knowledge_transfer.cluster_classification import (
    ClusterClassification,
    PseudoLabelSettings,
)
from ccssl_tf.knowledge_transfer.teacher import TaughtTask, TeacherSettings
from ccssl_tf.layers.per_example_dropout import per_example_seeds
from ccssl_tf.pretext.image_classification import ImageClassification
from ccssl_tf.pretext.supervised import Supervised
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.runs.settings import fields_of, setting
from ccssl_tf.task import TaskSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogitsDistillationSettings(TaskSettings, TeacherSettings, PseudoLabelSettings):
    """--task=logits_distillation."""

    distillation_temperature: float = setting(
        4.0,
        "T that divides the logits; by default that of attention transfer's code.",
        minimum=1e-3,
    )
    distillation_weight: float = setting(
        0.9,
        "alpha, share of the softened answers in the loss; the labels have the rest. By default "
        "that of attention transfer's code.",
        minimum=0,
        maximum=1,
    )
    hard_labels: bool = setting(
        True,
        "In logits_distillation learn labels besides the teacher's answers: --pseudo_labels where "
        "given, else the images' own, if any.",
    )

    def check(self):
        """What is said of pseudo-labels needs some that are learned."""
        super().check()
        if self.pseudo_labels and self.hard_labels:
            return
        for name in ("balanced_sampling", "shuffle_labels", "label_temperature", "min_margin"):
            if getattr(self, name):
                raise FlagError(
                    f"--{name}: says nothing where no pseudo-labels are learned; give "
                    "--pseudo_labels and --hard_labels, or leave it out"
                )


class LogitsDistillation(TaughtTask, ImageClassification):
    """Trains a classifier on the softened answers of a frozen one.

    Attributes:
      labels: the task whose labels are learned too; None: there are none.
      weight: alpha; 1 without labels.

    >>> from ccssl_tf import LogitsDistillation
    >>> labels = dict(pseudo_labels=pseudo_labels, teacher_backbone=teacher)
    >>> LogitsDistillation(data_dir=data_dir, image_size=32, **labels).num_classes
    4
    """

    Settings = LogitsDistillationSettings

    def __init__(self, settings: LogitsDistillationSettings | None = None, **fields):
        """Takes the settings or their fields; looks up how many classes the teacher knows.

        Raises:
          InputError: the teacher has no logits, is for another size, or there are labels of more or
            fewer classes than it knows.
        """
        super().__init__(settings, **fields)
        settings = self.settings
        self.labels = _labels_of(settings)
        self.weight = settings.distillation_weight if self.labels else 1.0
        self.num_classes = self.load_teacher().get_layer("logits").units
        if self.labels and self.labels.num_classes != self.num_classes:
            raise InputError(
                f"--teacher_backbone={settings.teacher_backbone}: answers {self.num_classes} "
                f"classes, and the labels have {self.labels.num_classes}; name the teacher's "
                "--pseudo_labels, or learn its answers alone (--nohard_labels)"
            )
        self.eval_split = (
            self.labels.eval_split
            if self.labels
            else image_batches.held_out_split(settings.data_dir)
        )

    def load_teacher(self):
        """The classifier beside --teacher_backbone."""
        return teacher.load_classifier(self.settings.teacher_backbone, self.settings.image_size)

    def target(self, split, parsed):
        """The label; -1 where there are none."""
        return self.labels.target(split, parsed) if self.labels else tf.constant(-1)

    def more_targets(self, split, parsed):
        """As training on the labels alone would have it."""
        return self.labels.more_targets(split, parsed) if self.labels else {}

    def copies(self, split, epoch):
        """As training on the labels alone would have it."""
        return self.labels.copies(split, epoch) if self.labels else None

    def class_name(self, number):
        """The label's name, or the number of the teacher's answer."""
        return self.labels.class_name(number) if self.labels else f"class {number}"

    def build_model(self, backbone):
        """A classifier of the teacher's classes; loads the teacher."""
        model = super().build_model(backbone)
        self.keep_teacher(model, self.load_teacher())
        return model

    def loss(self, model, batch, training):
        """The loss; `soft_loss` (its first term, without alpha), `agreement` with the teacher's
        first answer, `accuracy` on labels.
        """
        with per_example_seeds(batch["seed"]):
            logits = model(model.backbone.normalize(batch["image"]), training=training)["logits"]
        taught = tf.cast(self._taught(model, batch), tf.float32)
        soft_losses = softened_divergence(logits, taught, self.settings.distillation_temperature)
        answers = tf.argmax(logits, -1, tf.int32)
        metrics = dict(
            soft_loss=soft_losses,
            agreement=tf.cast(tf.equal(answers, tf.argmax(taught, -1, tf.int32)), tf.float32),
        )
        if not self.labels:
            return soft_losses, metrics
        hard_losses = self.labels.label_losses(batch, logits, training)
        metrics["accuracy"] = tf.cast(tf.equal(answers, batch["target"]), tf.float32)
        return self.weight * soft_losses + (1 - self.weight) * hard_losses, metrics

    def _taught(self, model, batch):
        """Returns the teacher's logits [B, K]."""
        return teacher.ask(self.teacher(model), batch["image"])["logits"]

    def pictured_batch(self, count, model=None):
        """With a model, `target` is what pictures say is asked for: the teacher's first answers."""
        batch = super().pictured_batch(count, model)
        if model is None:
            return batch
        return dict(batch, target=tf.argmax(self._taught(model, batch), -1))

    def inputs(self):
        """The teacher, and the pseudo-labels where there are any."""
        return dict(self.labels.inputs() if self.labels else {}, **super().inputs())

    def facts(self, model, result=None):
        """The teacher, T and alpha, the chance level of the labels, and how the numbers are
        computed.
        """
        of_labels = (
            self.labels.facts(model, result)
            if self.labels
            else dict(chance=1 / self.num_classes, definition="no labels")
        )
        return dict(
            of_labels,
            **teacher.facts(self.teacher(model)),
            temperature=self.settings.distillation_temperature,
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


def _labels_of(settings):
    """The task whose labels are learned too: that of --pseudo_labels, else that of the images' own
    labels, else None.
    """
    if not settings.hard_labels:
        return None
    if settings.pseudo_labels:
        kind = ClusterClassification
    elif Manifest.read(settings.data_dir, "images").info.get("class_names"):
        kind = Supervised
    else:
        return None
    fields = {field.name: getattr(settings, field.name) for field in fields_of(kind.Settings)}
    return kind(**fields)

"""Attention transfer (Zagoruyko and Komodakis 2017, activation based) beside any other task, as in
the paper's Table 3: [37] with the loss of the pretext task in place of the labels'.

    loss = base task's loss + beta * sum over pairs of layers of mean over places of (at(student) -
    at(teacher))^2 at(x) = v / |v|_2,  v = flatten(mean over channels of x^2)

as in the authors' code, with its beta of 1000. Where maps differ in size the mean over channels of
the larger one is resized bilinearly to the smaller, our choice where no source has one
(experiments/PROTOCOLS.md, "Distillation").

Decided here: attention is compared on the whole images of the base task's batch, beside the tiles,
crops or rotations the base task itself shows the student. What is to be transferred is what the
teacher looks at in an image, and it is on whole images that features are read later; on tiles of a
small image the last maps have 2x2 places, of which a map of attention says nothing. It also asks
nothing of the base task but `image` in its batches. Both networks are in inference mode there: the
student's batch statistics remain those of its base task, and what is compared is what later stages
see.
"""

import dataclasses

import tensorflow as tf

from ccssl_tf.knowledge_transfer import paired_maps, teacher
from ccssl_tf.knowledge_transfer.paired_maps import PairedMapsSettings, PairedMapsTask
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.runs.fields import as_text
from ccssl_tf.runs.settings import fields_of, setting
from ccssl_tf.task import Epoch, Result, Task, TaskSettings

# What the training loop asks of a task besides its methods and settings.
_ATTRIBUTES = (
    "with_fc",
    "colors",
    "keep_fc",
    "saves_classifier",
    "model_file",
    "train_split",
    "eval_split",
    "batch_multiple",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttentionTransferSettings(TaskSettings, PairedMapsSettings):
    """--task=attention_transfer."""

    student_endpoints: tuple[str, ...] = setting(
        ("conv3", "conv4", "conv5"), paired_maps.STUDENT_ENDPOINTS_HELP
    )
    base_task: str = setting(
        "jigsaw_pp", "Task that attention_transfer is added to.", paper="jigsaw_pp"
    )
    attention_weight: float = setting(
        1000.0, "beta, weight of the attention loss.", minimum=0, paper=1000.0
    )


class AttentionTransfer(PairedMapsTask):
    """Adds to a base task that the student looks where a frozen teacher looks.

    Attributes:
      base: the task that attention is added to.

    >>> from ccssl_tf import AttentionTransfer, Rotation
    >>> shared = dict(data_dir=data_dir, image_size=32)
    >>> task = AttentionTransfer(Rotation(**shared), teacher_backbone=teacher, **shared)
    >>> task.settings.student_endpoints
    ('conv3', 'conv4', 'conv5')
    """

    Settings = AttentionTransferSettings

    def __init__(self, base: Task, settings: AttentionTransferSettings | None = None, **fields):
        """Takes over everything from the base task.

        Args:
          base: one with `image` [B, S, S, 3] uint8 in its batches.
          settings: of this task; where the base task has one of the same name, as there.
          **fields: the same by name, instead.

        Raises:
          InputError: the base task does not train a backbone on images.
          FlagError: the base task was made with another value of a setting that both have.
        """
        super().__init__(settings, **fields)
        for name in _ATTRIBUTES:
            setattr(self, name, getattr(base, name))
        self.base = base
        image = (
            base.dataset("train", Epoch(1, training=False)).element_spec.get("image")
            if base.trains_backbone
            else None
        )
        if image is None:
            raise InputError(
                f"--base_task: {type(base).__name__} trains no backbone on images; use another"
            )
        self.compared_size = image.shape[1]
        self._refuse_other_values()

    def _refuse_other_values(self):
        """One flag sets both tasks, and one value is recorded."""
        shared = {field.name for field in fields_of(type(self.base.settings))}
        for field in fields_of(type(self.settings)):
            if field.name not in shared:
                continue
            here, there = (getattr(task.settings, field.name) for task in (self, self.base))
            if here != there:
                raise FlagError(
                    f"--{field.name}={as_text(here)}: the base task {type(self.base).__name__} "
                    f"has {as_text(there)}; give both the same"
                )

    def dataset(self, split, epoch, model=None):
        """The base task's batches."""
        return self.base.dataset(split, epoch, model)

    def build_model(self, backbone):
        """The base task's model; loads the teacher."""
        model = self.base.build_model(backbone)
        network = self.load_teacher()
        self.pairs(backbone, network)
        self.keep_teacher(model, network)
        return model

    def loss(self, model, batch, training):
        """The sum of both losses; the base task's metrics, its `base_loss`, the weighted
        `attention_loss`, and `similarity/<endpoint>`.

        A similarity is the cosine of the angle between two maps of attention.
        """
        base_losses, metrics = self.base.loss(model, batch, training)
        student, network = model.backbone, self.teacher(model)
        ours, theirs = (
            student(student.normalize(batch["image"]), training=False),
            teacher.ask(network, batch["image"]),
        )
        attention_losses, similarities = 0.0, {}
        weight = self.settings.attention_weight
        for own, other in self.pairs(student, network).items():
            maps = attention_maps(ours[own], theirs[other])
            attention_losses += weight * tf.reduce_mean(tf.math.squared_difference(*maps), 1)
            similarities[f"similarity/{own}"] = tf.reduce_sum(maps[0] * maps[1], 1)
        losses = base_losses + attention_losses
        return losses, dict(
            metrics, base_loss=base_losses, attention_loss=attention_losses, **similarities
        )

    def evaluate(self, model):
        """Means over the base task's held-out split."""
        # A base task with an evaluation of its own is to see it, too: context_encoder finds its
        # chance level there.
        is_plain = type(self.base).evaluate is Task.evaluate
        of_base = Result() if is_plain else self.base.evaluate(model)
        metrics = super().evaluate(model).metrics
        return dataclasses.replace(of_base, metrics={**of_base.metrics, **metrics})

    def pictures(self, model, result=None):
        """The base task's."""
        return self.base.pictures(model, result)

    def inputs(self):
        """The base task's, and the teacher."""
        return dict(self.base.inputs(), **super().inputs())

    def resolved(self, backbone):
        """This task's settings and the base task's."""
        return (*super().resolved(backbone), *self.base.resolved(backbone))

    def facts(self, model, result=None):
        """The base task's, the teacher and the pairs of layers."""
        facts, network = self.base.facts(model, result), self.teacher(model)
        return {
            **facts,
            **teacher.facts(network),
            "base_task": type(self.base).__name__,
            "attention_weight": self.settings.attention_weight,
            "pairs": self.pairs(model.backbone, network),
            "definition": facts["definition"]
            + "; similarity: cosine between the student's and the teacher's attention, whole "
            "images",
        }


def attention_maps(ours, theirs):
    """Maps activations [B, h, w, C] and [B, h', w', C'] to attention, [B, N] float32 each of length
    1, N places of the smaller map.
    """
    energies = (
        tf.reduce_mean(tf.square(tf.cast(maps, tf.float32)), -1, keepdims=True)
        for maps in (ours, theirs)
    )
    places = (
        tf.reshape(energy, [-1, energy.shape[1] * energy.shape[2]])
        for energy in paired_maps.to_one_size(*energies)
    )
    return tuple(tf.math.l2_normalize(place, axis=1) for place in places)

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

import tensorflow as tf
from absl import flags

from ccssl_tf.knowledge_transfer import paired_maps, teacher
from ccssl_tf.runs.errors import InputError
from ccssl_tf.task import Task

_BASE_TASK = flags.DEFINE_string(
    "base_task", "jigsaw_pp", "Task that attention_transfer is added to; jigsaw_pp in the paper."
)
_WEIGHT = flags.DEFINE_float(
    "attention_weight",
    1000.0,
    "beta, weight of the attention loss (1000 in its paper).",
    lower_bound=0,
)

_ENDPOINTS = ["conv3", "conv4", "conv5"]
# What the training loop asks of a task besides its methods.
_ATTRIBUTES = (
    "with_fc",
    "colors",
    "saves_classifier",
    "train_split",
    "eval_split",
    "eval_batch_size",
    "batch_multiple",
)


class AttentionTransfer(Task):
    """A base task whose student is also to look where a frozen teacher looks.

    Attributes:
      base_tasks: name -> class of the tasks to choose from; the registry says which.
    """

    base_tasks: dict = {}

    def __init__(self, *, base, teacher_path, student_endpoints, teacher_endpoints, weight):
        """Takes over everything from the base task.

        Args:
          base: a Task with `image` [B, S, S, 3] uint8 in its batches.
          teacher_path: workdir or backbone.keras.
          student_endpoints, teacher_endpoints: see `paired_maps.pair`.
          weight: beta.

        Raises:
          InputError: the base task does not train a backbone on images.
        """
        for name in _ATTRIBUTES:
            setattr(self, name, getattr(base, name))
        self.base, self.teacher_path, self.weight = base, teacher_path, weight
        self.student_endpoints, self.teacher_endpoints = student_endpoints, teacher_endpoints
        image = (
            base.dataset("train", 1, training=False, epoch_seed=(0, 0)).element_spec.get("image")
            if base.trains_backbone
            else None
        )
        if image is None:
            raise InputError(
                f"--base_task: {type(base).__name__} trains no backbone on images; use another"
            )
        self.image_size = image.shape[1]

    @classmethod
    def from_flags(cls):
        """Reads this module's flags, --teacher_backbone, those of endpoints and those of the base
        task.
        """
        choices = {
            name: task
            for name, task in cls.base_tasks.items()
            if task.trains_backbone and task is not cls
        }
        if _BASE_TASK.value not in choices:
            raise InputError(
                f"--base_task={_BASE_TASK.value}: unknown; there are {', '.join(sorted(choices))}"
            )
        teacher_path = teacher.path_from_flags("attention_transfer")
        student_endpoints, teacher_endpoints = paired_maps.endpoints_from_flags(_ENDPOINTS)
        return cls(
            base=choices[_BASE_TASK.value].from_flags(),
            teacher_path=teacher_path,
            student_endpoints=student_endpoints,
            teacher_endpoints=teacher_endpoints,
            weight=_WEIGHT.value,
        )

    def dataset(self, split, batch_size, training, epoch_seed, first_batch=0):
        """The base task's batches."""
        return self.base.dataset(split, batch_size, training, epoch_seed, first_batch)

    def build_model(self, backbone):
        """The base task's model; loads the teacher."""
        model = self.base.build_model(backbone)
        self._teacher = teacher.load_convolutions(self.teacher_path)
        self.pairs = paired_maps.pair(
            backbone, self._teacher, self.student_endpoints, self.teacher_endpoints, self.image_size
        )
        return model

    def loss(self, model, batch, training):
        """The sum of both losses; the base task's metrics, its `base_loss`, the weighted
        `attention_loss`, and `similarity/<endpoint>`.

        A similarity is the cosine of the angle between two maps of attention.
        """
        base_losses, metrics = self.base.loss(model, batch, training)
        student = model.backbone
        ours, theirs = (
            student(student.normalize(batch["image"]), training=False),
            teacher.ask(self._teacher, batch["image"]),
        )
        attention_losses, similarities = 0.0, {}
        for own, other in self.pairs.items():
            maps = attention_maps(ours[own], theirs[other])
            attention_losses += self.weight * tf.reduce_mean(tf.math.squared_difference(*maps), 1)
            similarities[f"similarity/{own}"] = tf.reduce_sum(maps[0] * maps[1], 1)
        losses = base_losses + attention_losses
        return losses, dict(
            metrics, base_loss=base_losses, attention_loss=attention_losses, **similarities
        )

    def evaluate(self, model):
        """Means over the base task's held-out split."""
        # A base task with an evaluation of its own is to see it, too: context_encoder finds its
        # chance level there.
        own = {} if type(self.base).evaluate is Task.evaluate else self.base.evaluate(model)
        return {**own, **super().evaluate(model)}

    def pictures(self, model):
        """The base task's."""
        return self.base.pictures(model)

    def inputs(self):
        """The base task's, and the teacher."""
        return dict(self.base.inputs(), teacher_backbone=self.teacher_path)

    def facts(self):
        """The base task's, the teacher and the pairs of layers."""
        facts = self.base.facts()
        return dict(
            facts,
            **teacher.facts(self._teacher),
            base_task=type(self.base).__name__,
            attention_weight=self.weight,
            pairs=self.pairs,
            definition=facts["definition"]
            + "; similarity: cosine between the student's and the teacher's attention, whole "
            "images",
        )


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

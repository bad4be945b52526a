"""Feature regression (paper section 5, item 6; after Ba and Caruana 2014): the student's maps are
to be the teacher's.

What the sources leave open. Targets are the teacher's activations after the rectifier, of whole
images, less the mean and divided by the standard deviation of their channel over training images
(Ba and Caruana normalise theirs so): every channel counts alike, and the loss of answering the mean
is 1. With t the teacher's map [h, w, C'] and s the student's [h, w, C], both at the smaller of
their sizes, the loss is

    mean over h, w, C' of (A s + b - (t - mean) / deviation)^2,    averaged over the pairs of
    layers,

with A, b a learnt 1x1 convolution, also where C = C': the student's rectified channels are then
free to lie as they like, and a channel that the teacher hardly ever uses, so that its deviation is
small, does not rule what the student's may be.
"""

import keras
import numpy as np
import tensorflow as tf

from ccssl_tf import network_flags, stage_flags
from ccssl_tf.data import pipeline
from ccssl_tf.knowledge_transfer import paired_maps, teacher
from ccssl_tf.runs.errors import InputError
from ccssl_tf.task import Task

_ENDPOINTS = ["conv4", "conv5"]
_MEASURED_IMAGES, _MEASURING_BATCH = 512, 64
# A channel's deviation counts as at least this share of the typical one: a channel that hardly ever
# fires is not blown up.
_SMALLEST_DEVIATION = 0.01


class FeatureRegression(Task):
    """Regresses layers of a frozen teacher from those of the student, by default conv4
    and conv5.
    """

    def __init__(
        self,
        *,
        data_dir,
        image_size,
        teacher_path,
        student_endpoints,
        teacher_endpoints,
        eval_batch_size=64,
    ):
        """Args are those of the flags; raises nothing: the teacher is loaded by `build_model`."""
        self.data_dir, self.image_size, self.eval_batch_size = data_dir, image_size, eval_batch_size
        self.teacher_path, self.student_endpoints, self.teacher_endpoints = (
            teacher_path,
            student_endpoints,
            teacher_endpoints,
        )
        self.eval_split = pipeline.held_out_split(data_dir)
        self._statistics = None

    @classmethod
    def from_flags(cls):
        """Reads --teacher_backbone, the flags of endpoints and those of data and image size."""
        student_endpoints, teacher_endpoints = paired_maps.endpoints_from_flags(_ENDPOINTS)
        return cls(
            data_dir=stage_flags.DATA_DIR.value,
            image_size=network_flags.IMAGE_SIZE.value,
            teacher_path=teacher.path_from_flags("feature_regression"),
            student_endpoints=student_endpoints,
            teacher_endpoints=teacher_endpoints,
        )

    def dataset(self, split, batch_size, training, epoch_seed, first_batch=0):
        """Batches of `image` [B, S, S, 3] uint8: random mirrored crops in training, the centre
        otherwise.
        """
        options = dict(
            batch_size=batch_size, training=training, epoch_seed=epoch_seed, first_batch=first_batch
        )
        return pipeline.augmented_images(
            self.data_dir, split, image_size=self.image_size, **options
        )

    def build_model(self, backbone):
        """The student's maps {endpoint: [B, h, w, C']}, as many channels as the teacher's; loads
        the teacher and measures it, once.
        """
        self._teacher = teacher.load_convolutions(self.teacher_path)
        self.pairs = paired_maps.pair(
            backbone, self._teacher, self.student_endpoints, self.teacher_endpoints, self.image_size
        )
        if self._statistics is None:
            self._statistics = {ours: self._measure(theirs) for ours, theirs in self.pairs.items()}
        images = keras.Input([self.image_size, self.image_size, 3], name="images")
        endpoints, outputs = backbone(images), {}
        for ours in self.pairs:
            channels = len(self._statistics[ours][0])
            outputs[ours] = keras.layers.Conv2D(
                channels, 1, dtype="float32", name=f"{ours}_to_teacher"
            )(endpoints[ours])
        model = keras.Model(images, outputs, name="feature_regression")
        model.backbone = backbone
        return model

    def _measure(self, endpoint):
        """Returns mean and deviation, [C'] float32 each, of the teacher's channels over central
        crops of 512 training images.

        Shards are random samples of the set, and so are the images of the first ones.
        """

        @tf.function(autograph=False)
        def sums(batch):
            maps = tf.cast(teacher.ask(self._teacher, batch["image"])[endpoint], tf.float64)
            weight = tf.cast(batch["weight"], tf.float64)[:, None, None, None] * tf.ones_like(
                maps[..., :1]
            )
            return tf.reduce_sum(weight), *(
                tf.reduce_sum(weight * maps**power, [0, 1, 2]) for power in (1, 2)
            )

        batches = self.dataset("train", _MEASURING_BATCH, training=False, epoch_seed=(0, 0)).take(
            _MEASURED_IMAGES // _MEASURING_BATCH
        )
        count, total, squares = (
            sum(np.asarray(value) for value in values)
            for values in zip(*map(sums, batches), strict=True)
        )
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
        typical = np.sqrt(np.mean(deviation**2))
        if not typical > 0:
            raise InputError(
                f"--teacher_backbone={self.teacher_path}: its {endpoint} answers every image "
                "alike; name a trained network"
            )
        return mean.astype(np.float32), np.maximum(deviation, _SMALLEST_DEVIATION * typical).astype(
            np.float32
        )

    def loss(self, model, batch, training):
        """Mean squared error in units of the teacher's variance, and `error/<endpoint>` of each
        pair.
        """
        answers = model(model.backbone.normalize(batch["image"]), training=training)
        targets = teacher.ask(self._teacher, batch["image"])
        errors = {}
        for ours, theirs in self.pairs.items():
            mean, deviation = self._statistics[ours]
            answer, target = paired_maps.to_one_size(answers[ours], targets[theirs])
            errors[f"error/{ours}"] = tf.reduce_mean(
                tf.square(answer - (target - mean) / deviation), [1, 2, 3]
            )
        return tf.add_n(list(errors.values())) / len(errors), errors

    def inputs(self):
        """The teacher."""
        return dict(teacher_backbone=self.teacher_path)

    def facts(self):
        """The teacher, the pairs of layers, and how errors are computed."""
        return dict(
            teacher.facts(self._teacher),
            chance=1.0,
            pairs=self.pairs,
            definition="mean squared error of the teacher's channels, each in units of its "
            "standard deviation over training images, "
            "central crops; chance: answering every channel's mean; batch statistics not used",
        )

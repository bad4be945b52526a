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

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from ccssl_tf.knowledge_transfer import paired_maps, teacher
from ccssl_tf.knowledge_transfer.paired_maps import PairedMapsSettings, PairedMapsTask
from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.settings import setting
from ccssl_tf.task import Epoch, ImageTask, TaskSettings

_MEASURED_IMAGES, _MEASURING_BATCH = 512, 64
# A channel's deviation counts as at least this share of the typical one: a channel that hardly ever
# fires is not blown up.
_SMALLEST_DEVIATION = 0.01


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureRegressionSettings(TaskSettings, PairedMapsSettings):
    """--task=feature_regression."""

    student_endpoints: tuple[str, ...] = setting(
        ("conv4", "conv5"), paired_maps.STUDENT_ENDPOINTS_HELP, paper=("conv4", "conv5")
    )


class FeatureRegression(PairedMapsTask, ImageTask):
    """Regresses layers of a frozen teacher from those of the student.

    >>> from ccssl_tf import FeatureRegression
    >>> task = FeatureRegression(data_dir=data_dir, teacher_backbone=teacher)
    >>> task.settings.teacher_endpoints
    ('conv4', 'conv5')
    """

    Settings = FeatureRegressionSettings

    def __init__(self, settings: FeatureRegressionSettings | None = None, **fields):
        """Takes the settings or their fields."""
        super().__init__(settings, **fields)
        self._statistics: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def build_model(self, backbone):
        """The student's maps {endpoint: [B, h, w, C']}, as many channels as the teacher's; loads
        the teacher and measures it, once.
        """
        network = self.load_teacher()
        size = self.settings.image_size
        images = keras.Input([size, size, 3], name="images")
        channels = {
            ours: len(self._statistics_of(network, theirs)[0])
            for ours, theirs in self.pairs(backbone, network).items()
        }
        endpoints, outputs = backbone(images), {}
        for ours, count in channels.items():
            outputs[ours] = keras.layers.Conv2D(
                count, 1, dtype="float32", name=f"{ours}_to_teacher"
            )(endpoints[ours])
        model = keras.Model(images, outputs, name="feature_regression")
        model.backbone = backbone
        self.keep_teacher(model, network)
        return model

    def _statistics_of(self, network, endpoint):
        """Returns `_measure`'s numbers, measured once: they follow from the settings."""
        if endpoint not in self._statistics:
            with tf.init_scope():
                self._statistics[endpoint] = self._measure(network, endpoint)
        return self._statistics[endpoint]

    def _measure(self, network, endpoint):
        """Returns mean and deviation, [C'] float32 each, of the teacher's channels over central
        crops of 512 training images.

        Shards are random samples of the set, and so are the images of the first ones.
        """

        @tf.function(autograph=False)
        def sums(batch):
            maps = tf.cast(teacher.ask(network, batch["image"])[endpoint], tf.float64)
            weight = tf.cast(batch["weight"], tf.float64)[:, None, None, None] * tf.ones_like(
                maps[..., :1]
            )
            return tf.reduce_sum(weight), *(
                tf.reduce_sum(weight * maps**power, [0, 1, 2]) for power in (1, 2)
            )

        batches = self.dataset("train", Epoch(_MEASURING_BATCH, training=False)).take(
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
                f"--teacher_backbone={self.settings.teacher_backbone}: its {endpoint} answers "
                "every image alike; name a trained network"
            )
        return mean.astype(np.float32), np.maximum(deviation, _SMALLEST_DEVIATION * typical).astype(
            np.float32
        )

    def loss(self, model, batch, training):
        """Mean squared error in units of the teacher's variance, and `error/<endpoint>` of each
        pair.
        """
        answers = model(model.backbone.normalize(batch["image"]), training=training)
        network = self.teacher(model)
        targets = teacher.ask(network, batch["image"])
        errors = {}
        for ours, theirs in self.pairs(model.backbone, network).items():
            mean, deviation = self._statistics_of(network, theirs)
            answer, target = paired_maps.to_one_size(answers[ours], targets[theirs])
            errors[f"error/{ours}"] = tf.reduce_mean(
                tf.square(answer - (target - mean) / deviation), [1, 2, 3]
            )
        return tf.add_n(list(errors.values())) / len(errors), errors

    def facts(self, model, result=None):
        """The teacher, the pairs of layers, and how errors are computed."""
        network = self.teacher(model)
        return dict(
            teacher.facts(network),
            chance=1.0,
            pairs=self.pairs(model.backbone, network),
            definition="mean squared error of the teacher's channels, each in units of its "
            "standard deviation over training images, central crops; chance: answering every "
            "channel's mean; batch statistics not used",
        )

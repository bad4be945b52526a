"""The teacher of a distillation: a finished network, frozen, in inference mode, asked in the
student's own training step.

A teacher belongs to the task and never to the model that is trained: so it is in no list of
trainable variables, in no checkpoint and in no saved backbone. `build_model` loads it, in the
strategy's scope, so that every replica has its copy. A resumed run reads it from its file again;
that this holds the same teacher is what the fingerprint among the run's inputs is for.
"""

import abc
import dataclasses
import pathlib
import weakref

import keras
import tensorflow as tf

from ccssl_tf.models import backbone_file
from ccssl_tf.models.backbone import Backbone, copy_convolutions
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.runs.settings import Settings, setting
from ccssl_tf.task import Task

# Whole images are shown to a full-size AlexNet at stride 4, whatever stride its tiles had
# (experiments/PROTOCOLS.md, "Extraction").
_WHOLE_IMAGE_STRIDE = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherSettings(Settings):
    """Whom a student learns from."""

    teacher_backbone: str = setting(
        help="Network to learn from in feature_regression, attention_transfer and "
        "logits_distillation: a training workdir or its backbone.keras; for logits_distillation "
        "a workdir with a classifier.keras.",
    )

    def check(self):
        """The empty path would be the current directory."""
        super().check()
        if not self.teacher_backbone:
            raise FlagError(
                "--teacher_backbone: not given; name a training workdir or its backbone.keras"
            )


class TaughtTask(Task):
    """A task whose student learns from a frozen teacher; settings include `TeacherSettings`."""

    def __init__(self, settings=None, **fields):
        """Takes the settings or their fields.

        Raises:
          InputError: there is no such file or directory.
        """
        super().__init__(settings, **fields)
        path = self.settings.teacher_backbone
        if not pathlib.Path(path).exists():
            raise InputError(
                f"--teacher_backbone={path}: no such file or directory; name a finished training "
                "workdir"
            )
        # One teacher for each model lives as long as the model: under another strategy it has
        # variables of another kind, and what was traced with it still needs them.
        self._teachers = weakref.WeakKeyDictionary()

    @abc.abstractmethod
    def load_teacher(self):
        """Returns the teacher, loaded anew from its file."""

    def keep_teacher(self, model, network):
        """Lets `network`, made by `load_teacher` in the scope that `model` was built in, be the
        model's teacher.
        """
        self._teachers[model] = network

    def teacher(self, model):
        """Returns the teacher of `model`; loads it where another task of these settings built the
        model.
        """
        if model not in self._teachers:
            # A loss being traced must not have the loading in its graph.
            with tf.init_scope():
                self._teachers[model] = self.load_teacher()
        return self._teachers[model]

    def inputs(self):
        """The teacher."""
        return dict(super().inputs(), teacher_backbone=self.settings.teacher_backbone)


def load_convolutions(path) -> Backbone:
    """Returns the convolutional part of the network in `path`, for whole images of any size,
    frozen.

    Raises:
      InputError: no backbone of ours there.
      CorruptArtifactError: a damaged one.
    """
    network = backbone_file.load_backbone(path)
    config = network.get_config()
    wanted = {"fc_units": ()} if config.get("fc_units") else {}
    if config.get("stem") == "standard":
        wanted["conv1_stride"] = _WHOLE_IMAGE_STRIDE
    if wanted:
        convolutions = type(network).from_config({**config, **wanted})
        copy_convolutions(network, convolutions, str(path))
        convolutions.weights_from = network.weights_from
        network = convolutions
    network.trainable = False
    return network


def load_classifier(path, image_size: int) -> keras.Model:
    """Returns the classifier in the workdir `path` (or that of the backbone.keras `path`), frozen,
    with `.backbone`.

    Raises:
      InputError: a network without logits, or one for images of another size than `image_size`.
      CorruptArtifactError: a damaged file.
    """
    path = pathlib.Path(path)
    file = (path if path.is_dir() else path.parent) / backbone_file.CLASSIFIER_FILE_NAME
    if not file.is_file():
        raise InputError(
            f"--teacher_backbone={path}: a network without logits (no {file.name} there); name a "
            "workdir of --task=cluster_classification or supervised"
        )
    model = backbone_file.load_model(file)
    networks = [layer for layer in model.layers if isinstance(layer, Backbone)]
    if not networks or "logits" not in model.output_names:
        raise InputError(
            f"{file}: not a classifier of this project; name a workdir of "
            "--task=cluster_classification or supervised"
        )
    if model.input_shape[1] != image_size:
        raise InputError(
            f"--image_size={image_size}: the teacher in {path} takes images of "
            f"{model.input_shape[1]} pixels; give that size"
        )
    model.backbone = networks[0]
    model.backbone.weights_from = dict(fingerprint=backbone_file.describe(file).get("fingerprint"))
    model.trainable = False
    return model


def ask(network, images) -> dict:
    """Returns the frozen network's outputs for images [B, S, S, 3] in [0, 255], in its own input
    convention, without gradient.
    """
    outputs = network(_backbone(network).normalize(images), training=False)
    return {name: tf.stop_gradient(output) for name, output in outputs.items()}


def facts(network) -> dict:
    """Returns what a reader of the numbers must know of the teacher."""
    backbone = _backbone(network)
    return dict(
        teacher=dict(
            network=type(backbone).__name__,
            fingerprint=(backbone.weights_from or {}).get("fingerprint"),
        )
    )


def _backbone(network):
    return network if isinstance(network, Backbone) else network.backbone

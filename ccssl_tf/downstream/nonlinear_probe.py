"""Nonlinear probe (paper Table 6; Noroozi and Favaro 2016): layers up to convX frozen, the rest
retrained from scratch with labels.

What a frozen part knows is measured by how well the layers behind it, random at first, learn to
classify from it; the fully connected layers are among them (in Table 6's columns fc6 and fc7 these
are frozen, too, with the weights of the cluster classifier). Frozen layers have no gradient and no
weight decay, and their batch normalisation keeps its statistics. Answers are averaged over 10
crops: probabilities, as Caffe's classifier averages them.
"""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from ccssl_tf.data import image_ops, labels, pipeline
from ccssl_tf.downstream.right_answers import right_answers
from ccssl_tf.layers.per_example_dropout import per_example_seeds
from ccssl_tf.metrics.top_k import in_top_k
from ccssl_tf.models.backbone import RANDOM_START
from ccssl_tf.models.heads import build_classifier
from ccssl_tf.pictures.confusion import confusion_pictures
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.runs.settings import setting
from ccssl_tf.task import Task, TaskSettings

_FC_LAYERS = ("fc6", "fc7")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NonlinearProbeSettings(TaskSettings):
    """--task=nonlinear_probe."""

    frozen_until: str = setting(
        "conv5",
        "Last frozen layer: conv1 to conv5 (of networks with several convolutions a stage its "
        "last), fc6 or fc7 (which keep those of --init_backbone), or any endpoint.",
    )
    num_crops: int = setting(
        10,
        "Crops an answer is averaged over: 10, or 1, which is the centre.",
        minimum=1,
        maximum=10,
        paper=10,
    )
    eval_batch_size: int = setting(
        32,
        "Images a batch in evaluation, each in --num_crops crops; fewer take less memory.",
        minimum=1,
        maximum=2**16,
    )

    def check(self):
        """Crops are cut at one place or at ten."""
        super().check()
        if self.num_crops not in (1, 10):
            raise FlagError(f"--num_crops={self.num_crops}: must be 1 or 10")


class NonlinearProbe(Task):
    """Classifies by a network whose first layers are frozen, the others trained anew.

    Attributes:
      class_names: of the labels.

    >>> from ccssl_tf import NonlinearProbe
    >>> task = NonlinearProbe(data_dir=data_dir, image_size=32, frozen_until="conv3")
    >>> task.settings.num_crops
    10
    """

    Settings = NonlinearProbeSettings

    with_fc = True
    trains_backbone = False
    is_evaluation = True
    eval_split = "val"

    def __init__(self, settings: NonlinearProbeSettings | None = None, **fields):
        """Takes the settings or their fields; splits are train and val.

        Raises:
          InputError: the images have no labels, or a split is missing.
        """
        super().__init__(settings, **fields)
        self.keep_fc = self.settings.frozen_until in _FC_LAYERS
        self.class_names = labels.class_names(self.settings.data_dir, splits=("train", "val"))

    def dataset(self, split, epoch, model=None):
        """Batches of `image`: [B, S, S, 3] uint8 random mirrored crops in training, else [B, crops,
        S, S, 3].
        """
        data_dir, size = self.settings.data_dir, self.settings.image_size

        def load(parsed):
            encoded = parsed["encoded"]
            if epoch.training:
                return dict(image=image_ops.augmented_crop(encoded, size, parsed["seed"]))
            crops = image_ops.evaluation_crops(encoded, size, self.settings.num_crops)
            return dict(image=crops)

        parse = labels.parse_labelled(data_dir, split, len(self.class_names))
        return pipeline.batches(data_dir, split, epoch, load=load, parse=parse)

    def build_model(self, backbone):
        """A classifier over a network that has the frozen layers of `backbone` and is random behind
        them.
        """
        network = retrained_behind(backbone, endpoint_called(backbone, self.settings.frozen_until))
        return build_classifier(network, len(self.class_names), self.settings.image_size)

    def loss(self, model, batch, training):
        """Cross-entropy, `accuracy/<frozen_until>` and, of more than five classes,
        `top5/<frozen_until>`.
        """
        target, images = batch["label"], batch["image"]
        if images.shape.rank == 4:
            with per_example_seeds(batch["seed"]):
                logits = model(model.backbone.normalize(images), training=training)["logits"]
            likely = tf.nn.log_softmax(logits)
        else:
            likely = tf.math.log(tf.maximum(self._probabilities(model, images), 1e-37))
        losses = -tf.gather(likely, target, axis=1, batch_dims=1)
        layer = self.settings.frozen_until
        metrics = {f"accuracy/{layer}": in_top_k(likely, target, 1)}
        if len(self.class_names) > 5:
            metrics[f"top5/{layer}"] = in_top_k(likely, target, 5)
        return losses, metrics

    def _probabilities(self, model, images):
        """Maps [B, crops, S, S, 3] uint8 to the mean over the crops, [B, classes] float32."""
        crops = tf.reshape(images, [-1, *images.shape[2:]])
        answers = tf.nn.softmax(model(model.backbone.normalize(crops), training=False)["logits"])
        return tf.reduce_mean(tf.reshape(answers, [-1, images.shape[1], answers.shape[-1]]), axis=1)

    def pictures(self, model, result=None):
        """`confusion`: which classes are taken for which, where there are few."""
        layer = self.settings.frozen_until
        answer = tf.function(
            lambda images: {layer: tf.argmax(self._probabilities(model, images), -1)},
            autograph=False,
        )
        return confusion_pictures(
            self, self.class_names, lambda batch: answer(batch["image"]), model
        )

    def outcomes(self, model):
        """Of each layer, which held-out images are answered rightly."""
        return right_answers(self, model)

    def facts(self, model, result=None):
        """What was frozen and how the accuracy is computed."""
        settings = self.settings
        crops = (
            "one central crop"
            if settings.num_crops == 1
            else "probabilities averaged over 10 crops (corners and centre, mirrored)"
        )
        layers = model.backbone.layers
        return dict(
            chance=1 / len(self.class_names),
            num_classes=len(self.class_names),
            frozen_until=settings.frozen_until,
            frozen_layers=[layer.name for layer in layers if layer.weights and not layer.trainable],
            num_crops=settings.num_crops,
            definition=f"top-1 on the val split, {crops}, after the last step; layers up to the "
            "one named frozen, the others trained "
            f"from scratch; {RANDOM_START}",
        )


def endpoint_called(backbone, name: str) -> str:
    """Returns the endpoint of that name, or the last of the stage: conv3 is conv3_3 in VGG16.

    Raises:
      InputError: there is none; the message says which there are.
    """
    endpoints = [
        endpoint
        for endpoint in backbone.endpoint_names
        if endpoint == name or endpoint.startswith(f"{name}_")
    ]
    if not endpoints:
        small = (
            "; networks for small images have no fully connected layers"
            if name in _FC_LAYERS
            else ""
        )
        raise InputError(
            f"--frozen_until={name}: {backbone.name} has "
            f"{', '.join(backbone.endpoint_names)}{small}"
        )
    return endpoints[-1]


def retrained_behind(backbone, endpoint: str):
    """Returns a new network with the layers of `backbone` up to an endpoint, frozen, and random
    ones behind it.

    Raises:
      FlagError: nothing is left to be frozen.
    """
    network = type(backbone).from_config(backbone.get_config())
    network.weights_from = backbone.weights_from
    before = keras.Model(network.input, network.output[endpoint])
    for layer in before.layers:
        if layer.weights:
            layer.set_weights(backbone.get_layer(layer.name).get_weights())
        layer.trainable = False
    if not any(np.prod(weight.shape) for weight in before.weights):
        raise FlagError(f"--frozen_until={endpoint}: no layer with weights up to there")
    return network

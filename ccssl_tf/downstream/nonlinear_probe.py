"""Nonlinear probe (paper Table 6; Noroozi and Favaro 2016): layers up to convX frozen, the rest
retrained from scratch with labels.

What a frozen part knows is measured by how well the layers behind it, random at first, learn to
classify from it; the fully connected layers are among them (in Table 6's columns fc6 and fc7 these
are frozen, too, with the weights of the cluster classifier). Frozen layers have no gradient and no
weight decay, and their batch normalisation keeps its statistics. Answers are averaged over 10
crops: probabilities, as Caffe's classifier averages them.
"""

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from ccssl_tf import network_flags, stage_flags
from ccssl_tf.data import image_ops, labels, pipeline
from ccssl_tf.layers.per_example_dropout import per_example_seeds
from ccssl_tf.metrics.top_k import in_top_k
from ccssl_tf.models.backbone import RANDOM_START
from ccssl_tf.models.heads import build_classifier
from ccssl_tf.pictures.confusion import confusion_pictures
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.task import Task

_FROZEN_UNTIL = flags.DEFINE_string(
    "frozen_until",
    "conv5",
    "Last frozen layer: conv1 to conv5, fc6 or fc7 (which keep those of --init_backbone), or any "
    "endpoint.",
)
NUM_CROPS = flags.DEFINE_enum(
    "num_crops",
    "10",
    ["1", "10"],
    "Crops an answer is averaged over (10 in the paper): 1 is the centre.",
)
_FC_LAYERS = ("fc6", "fc7")


class NonlinearProbe(Task):
    """Classification by a network whose first layers are frozen and whose others are trained from
    scratch.
    """

    with_fc = True
    trains_backbone = False
    eval_split = "val"

    def __init__(self, *, data_dir, image_size, frozen_until, num_crops, eval_batch_size=32):
        """Checks that the images have labels.

        Args:
          data_dir: image shards with labels, splits train and val.
          image_size: S, pixels.
          frozen_until: conv1..conv5 (of networks with several convolutions a stage its last), fc6,
            fc7, or another endpoint.
          num_crops: 1 or 10.
          eval_batch_size: images; each comes in `num_crops` crops.

        Raises:
          InputError: the images have no labels, or a split is missing.
        """
        self.data_dir, self.image_size, self.eval_batch_size = data_dir, image_size, eval_batch_size
        self.frozen_until, self.num_crops = frozen_until, num_crops
        self.keep_fc = frozen_until in _FC_LAYERS
        self.class_names = labels.class_names(data_dir, splits=("train", "val"))

    @classmethod
    def from_flags(cls):
        """Reads this module's flags and those of data and image size."""
        return cls(
            data_dir=stage_flags.DATA_DIR.value,
            image_size=network_flags.IMAGE_SIZE.value,
            frozen_until=_FROZEN_UNTIL.value,
            num_crops=int(NUM_CROPS.value),
        )

    def dataset(self, split, batch_size, training, epoch_seed, first_batch=0):
        """Batches of `image`: [B, S, S, 3] uint8 random mirrored crops in training, else [B, crops,
        S, S, 3].
        """

        def load(parsed):
            if training:
                return dict(
                    image=image_ops.augmented_crop(
                        parsed["encoded"], self.image_size, parsed["seed"]
                    )
                )
            return dict(
                image=image_ops.evaluation_crops(parsed["encoded"], self.image_size, self.num_crops)
            )

        options = dict(
            batch_size=batch_size, training=training, epoch_seed=epoch_seed, first_batch=first_batch
        )
        parse = labels.parse_labelled(self.data_dir, split, len(self.class_names))
        return pipeline.batches(self.data_dir, split, load=load, parse=parse, **options)

    def build_model(self, backbone):
        """A classifier over a network that has the frozen layers of `backbone` and is random behind
        them.
        """
        network = retrained_behind(backbone, endpoint_called(backbone, self.frozen_until))
        self.frozen = [
            layer.name for layer in network.layers if layer.weights and not layer.trainable
        ]
        return build_classifier(network, len(self.class_names), self.image_size)

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
        metrics = {f"accuracy/{self.frozen_until}": in_top_k(likely, target, 1)}
        if len(self.class_names) > 5:
            metrics[f"top5/{self.frozen_until}"] = in_top_k(likely, target, 5)
        return losses, metrics

    def _probabilities(self, model, images):
        """Maps [B, crops, S, S, 3] uint8 to the mean over the crops, [B, classes] float32."""
        crops = tf.reshape(images, [-1, *images.shape[2:]])
        answers = tf.nn.softmax(model(model.backbone.normalize(crops), training=False)["logits"])
        return tf.reduce_mean(tf.reshape(answers, [-1, images.shape[1], answers.shape[-1]]), axis=1)

    def pictures(self, model):
        """`confusion`: which classes are taken for which, where there are few."""
        answer = tf.function(
            lambda images: {self.frozen_until: tf.argmax(self._probabilities(model, images), -1)},
            autograph=False,
        )
        return confusion_pictures(self, self.class_names, lambda batch: answer(batch["image"]))

    def facts(self):
        """What was frozen and how the accuracy is computed."""
        crops = (
            "one central crop"
            if self.num_crops == 1
            else "probabilities averaged over 10 crops (corners and centre, mirrored)"
        )
        return dict(
            chance=1 / len(self.class_names),
            num_classes=len(self.class_names),
            frozen_until=self.frozen_until,
            frozen_layers=self.frozen,
            num_crops=self.num_crops,
            definition=f"top-1 on the val split, {crops}, after the last step; layers up to the "
            "one named frozen, the others trained "
            f"from scratch; {RANDOM_START}",
        )


def endpoint_called(backbone, name: str) -> str:
    """Returns the endpoint of that name, or the last of the stage: conv3 is conv3_3 in VGG16.

    Raises:
      InputError: there is none; the message says which there are.
    """
    found = [
        endpoint
        for endpoint in backbone.endpoint_names
        if endpoint == name or endpoint.startswith(f"{name}_")
    ]
    if not found:
        small = (
            "; networks for small images have no fully connected layers"
            if name in _FC_LAYERS
            else ""
        )
        raise InputError(
            f"--frozen_until={name}: {backbone.name} has "
            f"{', '.join(backbone.endpoint_names)}{small}"
        )
    return found[-1]


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

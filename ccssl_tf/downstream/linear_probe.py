"""Linear probe (paper Tables 4 and 5; Zhang et al. 2016): linear classifiers on frozen layers, all
layers at once.
"""

import dataclasses
import pathlib

import keras
import numpy as np
import tensorflow as tf

from ccssl_tf.data import image_batches, labels
from ccssl_tf.downstream.feature_cache import FeatureCache
from ccssl_tf.downstream.right_answers import right_answers
from ccssl_tf.layers.grid_pooling import grid_pool
from ccssl_tf.metrics.top_k import in_top_k
from ccssl_tf.models.backbone import RANDOM_START
from ccssl_tf.models.backbone_file import backbone_fingerprint
from ccssl_tf.pictures.confusion import confusion_pictures
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.runs.fields import as_text
from ccssl_tf.runs.settings import WorkdirSettings, setting
from ccssl_tf.task import Task, TaskSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearProbeSettings(TaskSettings, WorkdirSettings):
    """--task=linear_probe."""

    probe_endpoints: tuple[str, ...] | None = setting(
        None,
        "Layers to probe.",
        automatic="the last convolution of each of the five stages",
    )
    probe_grids: tuple[int, ...] = setting(
        (10, 6, 5, 5, 6),
        "Cells a side each layer is max-pooled to (9216 or 9600 numbers a layer of AlexNet); one "
        "number goes for all layers.",
        minimum=1,
        maximum=256,
        paper=(10, 6, 5, 5, 6),
    )
    cache_features: bool = setting(
        False,
        "Compute the frozen features once, of central crops, in memory or on disk under --workdir "
        "(no augmentation).",
    )
    cache_memory_gb: float = setting(
        4.0,
        "What the features of a split may take in memory; more are written in shards and read "
        "again.",
        unit="gigabytes",
        minimum=0,
        maximum=1_000_000,
    )

    def check(self):
        """Every layer is named once and has a grid."""
        super().check()
        if not self.probe_grids:
            raise FlagError("--probe_grids=: give one number, or one for each layer")
        if self.probe_endpoints is not None:
            _grids_of(self.probe_endpoints, self.probe_grids)


class LinearProbe(Task):
    """Reads the classes linearly from each layer of a frozen backbone, all layers at once.

    A classifier is batch normalisation without scale and shift, then one linear layer.

    Attributes:
      class_names: of the labels.

    >>> from ccssl_tf import LinearProbe
    >>> task = LinearProbe(data_dir=data_dir, image_size=32, probe_grids=(2,))
    >>> task.class_names
    ['circle', 'square', 'triangle']
    """

    Settings = LinearProbeSettings

    trains_backbone = False
    is_evaluation = True
    eval_split = "val"

    def __init__(self, settings: LinearProbeSettings | None = None, **fields):
        """Takes the settings or their fields; splits are train and val.

        Raises:
          InputError: the images have no labels, or a split is missing.
        """
        super().__init__(settings, **fields)
        self.class_names = labels.class_names(self.settings.data_dir, splits=("train", "val"))

    def build_model(self, backbone):
        """Freezes the backbone and puts a classifier on each endpoint; with --cache_features the
        model has the cache of the features.
        """
        settings, num_classes = self.settings, len(self.class_names)
        backbone.trainable = False
        grids = self._probed(backbone)
        model = LinearClassifiers(backbone, grids, num_classes, settings.image_size)
        if settings.cache_features:
            model.feature_cache = FeatureCache(
                model.features,
                dim=sum(model.sizes.values()),
                describe=dict(
                    backbone_fingerprint=backbone_fingerprint(backbone),
                    grids=grids,
                    image_size=settings.image_size,
                ),
                data_dir=settings.data_dir,
                image_size=settings.image_size,
                num_classes=num_classes,
                directory=settings.workdir and pathlib.Path(settings.workdir) / "features",
                memory_bytes=int(settings.cache_memory_gb * 2**30),
                batch_size=settings.eval_batch_size,
                strategy=tf.distribute.get_strategy(),
            )
        return model

    def _probed(self, backbone):
        """Returns endpoint -> cells a side, of every layer that is probed."""
        settings = self.settings
        endpoints = settings.probe_endpoints or last_of_each_stage(backbone.endpoint_names)
        unknown = sorted(set(endpoints) - set(backbone.endpoint_names))
        if unknown:
            raise InputError(
                f"--probe_endpoints: no endpoint {unknown[0]}; there are "
                f"{', '.join(backbone.endpoint_names)}"
            )
        return _grids_of(endpoints, settings.probe_grids)

    def dataset(self, split, epoch, model=None):
        """Batches of `features` from the cache of `model`, else of `image`: random mirrored crops
        in training, the centre otherwise.
        """
        settings = self.settings
        if settings.cache_features and model is not None:
            return model.feature_cache.batches(split, epoch)
        parse = labels.parse_labelled(settings.data_dir, split, len(self.class_names))
        return image_batches.augmented_images(
            settings.data_dir, split, epoch, image_size=settings.image_size, parse=parse
        )

    def loss(self, model, batch, training):
        """Sum of the layers' cross-entropies, `accuracy/<layer>` and, of more than five classes,
        `top5/<layer>`.
        """
        losses, metrics = 0.0, {}
        features = _features_of(batch, model)
        for layer, logits in model.classify(features, training=training).items():
            losses += tf.nn.sparse_softmax_cross_entropy_with_logits(batch["label"], logits)
            metrics[f"accuracy/{layer}"] = in_top_k(logits, batch["label"], 1)
            if len(self.class_names) > 5:
                metrics[f"top5/{layer}"] = in_top_k(logits, batch["label"], 5)
        return losses, metrics

    def pictures(self, model, result=None):
        """`confusion`: which classes are taken for which by the classifier that is right most
        often, where there are few.
        """

        @tf.function(autograph=False)
        def answers(batch):
            logits_of_layers = model.classify(_features_of(batch, model), training=False)
            return {layer: tf.argmax(logits, -1) for layer, logits in logits_of_layers.items()}

        return confusion_pictures(self, self.class_names, answers, model)

    def outcomes(self, model):
        """Of each layer, which held-out images are answered rightly."""
        return right_answers(self, model)

    def facts(self, model, result=None):
        """What was probed and how the accuracy is computed."""
        crops = (
            "central crops in training (cached features)"
            if self.settings.cache_features
            else "random mirrored crops in training"
        )
        return dict(
            chance=1 / len(self.class_names),
            num_classes=len(self.class_names),
            grids=dict(model.grids),
            definition=f"top-1 on the val split, one central crop, after the last step; {crops}; "
            "each layer max-pooled to its grid, batch "
            "normalisation without scale and shift, one linear layer; top5: among five answers; "
            f"{RANDOM_START}",
        )

    def resolved(self, backbone):
        """The settings with every layer that is probed on this backbone, and the grid of each."""
        grids = self._probed(backbone)
        layers = dict(probe_endpoints=tuple(grids), probe_grids=tuple(grids.values()))
        return (dataclasses.replace(self.settings, **layers),)


def _grids_of(endpoints, grids) -> dict[str, int]:
    """Returns endpoint -> cells a side; raises FlagError where they do not go together."""
    if len(set(endpoints)) != len(endpoints):
        raise FlagError(f"--probe_endpoints={as_text(tuple(endpoints))}: names a layer twice")
    grids = grids * len(endpoints) if len(grids) == 1 else grids
    if len(grids) != len(endpoints):
        raise FlagError(
            f"--probe_grids has {len(grids)} numbers for {len(endpoints)} layers; give one "
            "each, or one for all"
        )
    return dict(zip(endpoints, grids, strict=True))


def _features_of(batch, model):
    """The features of a batch [B, D] float32: the cached ones, else those of its images."""
    if "features" in batch:
        return tf.cast(batch["features"], tf.float32)
    return tf.stop_gradient(model.features(batch["image"]))


def last_of_each_stage(endpoint_names) -> list[str]:
    """Returns the last endpoint of each stage conv1..conv5: conv1_2, conv2_2, conv3_3, ... for
    VGG16.
    """
    last = {}
    for name in endpoint_names:
        if name.startswith("conv"):
            last[name.split("_")[0]] = name
    return list(last.values())


def pooled_features(backbone, grids: dict[str, int], images):
    """Returns the layers' pooled activations side by side: images [B, S, S, 3] uint8 -> [B, D]
    float32.
    """
    endpoints = backbone(backbone.normalize(images), training=False)
    pooled = [grid_pool(endpoints[name], grid) for name, grid in grids.items()]
    return tf.concat(
        [tf.reshape(tf.cast(x, tf.float32), [-1, np.prod(x.shape[1:])]) for x in pooled], axis=1
    )


class LinearClassifiers(keras.Model):
    """A linear classifier on each layer's part of the pooled features.

    Attributes:
      backbone: what the features are of.
      grids: endpoint -> cells a side that it is pooled to.
      sizes: endpoint -> numbers of it in the features.
      feature_cache: the features of all images, where they are kept; None where they are not.
    """

    def __init__(self, backbone, grids: dict[str, int], num_classes: int, image_size: int):
        """Builds the classifiers.

        Args:
          backbone: frozen.
          grids: endpoint -> cells a side.
          num_classes: of the labels.
          image_size: S, pixels.
        """
        super().__init__()
        self.backbone = backbone
        self.grids = dict(grids)
        self.feature_cache = None
        shapes = backbone.compute_output_shape([1, image_size, image_size, 3])
        self.sizes = {
            name: min(grid, shapes[name][1]) * min(grid, shapes[name][2]) * shapes[name][3]
            for name, grid in grids.items()
        }
        self.classifiers = {}
        for name, size in self.sizes.items():
            norm = keras.layers.BatchNormalization(
                center=False, scale=False, momentum=0.9, epsilon=1e-5, synchronized=True
            )
            logits = keras.layers.Dense(
                num_classes,
                kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
                dtype="float32",
            )
            self.classifiers[name] = keras.Sequential(
                [keras.Input([size]), norm, logits], name=f"classifier_{name}"
            )
        self.built = True

    def features(self, images):
        """Maps images [B, S, S, 3] uint8 to pooled features [B, D] float32."""
        return pooled_features(self.backbone, self.grids, images)

    def classify(self, features, training):
        """Maps pooled features [B, D] to {layer: logits [B, classes]}."""
        parts = tf.split(features, list(self.sizes.values()), axis=1)
        return {
            name: self.classifiers[name](part, training=training)
            for name, part in zip(self.sizes, parts, strict=True)
        }

"""Linear probe (paper Tables 4 and 5; Zhang et al. 2016): linear classifiers on frozen layers, all
layers at once.
"""

import pathlib

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from ccssl_tf import network_flags, stage_flags
from ccssl_tf.data import labels, pipeline
from ccssl_tf.downstream.feature_cache import FeatureCache
from ccssl_tf.layers.grid_pooling import grid_pool
from ccssl_tf.metrics.top_k import in_top_k
from ccssl_tf.models.backbone import RANDOM_START
from ccssl_tf.models.backbone_file import backbone_fingerprint
from ccssl_tf.pictures.confusion import confusion_pictures
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.task import Task

_ENDPOINTS = flags.DEFINE_list(
    "probe_endpoints",
    None,
    "Layers to probe; by default the last convolution of each of the five stages.",
)
_GRIDS = flags.DEFINE_list(
    "probe_grids",
    ["10", "6", "5", "5", "6"],
    "Cells a side each layer is max-pooled to (in the paper 9216 or 9600 numbers a layer); one "
    "number goes for all layers.",
)
_CACHE = flags.DEFINE_bool(
    "cache_features",
    False,
    "Compute the frozen features once, of central crops, in memory or on disk under --workdir (no "
    "augmentation).",
)
_CACHE_MEMORY = flags.DEFINE_float(
    "cache_memory_gb",
    4.0,
    "Gigabytes of features a split may take in memory; more are written in shards and read again.",
    lower_bound=0,
)


class LinearProbe(Task):
    """One linear classifier on each layer of a frozen backbone: batch normalisation without scale
    and shift, then classes.
    """

    trains_backbone = False
    eval_split = "val"

    def __init__(
        self,
        *,
        data_dir,
        image_size,
        endpoints,
        grids,
        cache_features,
        cache_memory_gb=4.0,
        cache_dir=None,
        eval_batch_size=64,
    ):
        """Checks that the images have labels.

        Args:
          data_dir: image shards with labels, splits train and val.
          image_size: S, pixels.
          endpoints: layer names; None for the last convolution of each stage.
          grids: cells a side, one a layer or one for all.
          cache_features: compute features once, from central crops.
          cache_memory_gb: gigabytes of a split's features that are kept in memory; more are written
            to `cache_dir`.
          cache_dir: None to refuse what does not fit in memory.
          eval_batch_size: images.
        """
        self.data_dir, self.image_size, self.eval_batch_size = data_dir, image_size, eval_batch_size
        self.endpoints, self.grids, self.cache_features = endpoints, grids, cache_features
        self.class_names = labels.class_names(data_dir, splits=("train", "val"))
        self.cache_memory_gb, self.cache_dir = cache_memory_gb, cache_dir
        if min(grids, default=0) < 1:
            raise FlagError(
                f"--probe_grids={','.join(map(str, grids))}: cells a side must be 1 or more"
            )
        self._backbone = self._cache = None

    @classmethod
    def from_flags(cls):
        """Reads this module's flags and those of data and image size."""
        try:
            grids = [int(cells) for cells in _GRIDS.value]
        except ValueError as error:
            raise FlagError(
                f"--probe_grids={','.join(_GRIDS.value)}: expected whole numbers such as 10,6,5,5,6"
            ) from error
        return cls(
            data_dir=stage_flags.DATA_DIR.value,
            image_size=network_flags.IMAGE_SIZE.value,
            endpoints=_ENDPOINTS.value,
            grids=grids,
            cache_features=_CACHE.value,
            cache_memory_gb=_CACHE_MEMORY.value,
            cache_dir=pathlib.Path(stage_flags.WORKDIR.value) / "features"
            if stage_flags.WORKDIR.value
            else None,
        )

    def build_model(self, backbone):
        """Freezes the backbone and puts a classifier on each endpoint."""
        backbone.trainable = False
        self._backbone = backbone
        endpoints = self.endpoints or last_of_each_stage(backbone.endpoint_names)
        unknown = sorted(set(endpoints) - set(backbone.endpoint_names))
        if unknown:
            raise InputError(
                f"--probe_endpoints: no endpoint {unknown[0]}; there are "
                f"{', '.join(backbone.endpoint_names)}"
            )
        if len(set(endpoints)) != len(endpoints):
            raise FlagError(f"--probe_endpoints={','.join(endpoints)}: names a layer twice")
        grids = self.grids * len(endpoints) if len(self.grids) == 1 else self.grids
        if len(grids) != len(endpoints):
            raise FlagError(
                f"--probe_grids has {len(grids)} numbers for {len(endpoints)} layers; give one "
                "each, or one for all"
            )
        self.probed = dict(zip(endpoints, grids, strict=True))
        model = LinearClassifiers(backbone, self.probed, len(self.class_names), self.image_size)
        if self.cache_features:
            self._cache = FeatureCache(
                self._features,
                dim=sum(model.sizes.values()),
                describe=dict(
                    backbone_fingerprint=backbone_fingerprint(backbone),
                    grids=self.probed,
                    image_size=self.image_size,
                ),
                data_dir=self.data_dir,
                image_size=self.image_size,
                num_classes=len(self.class_names),
                directory=self.cache_dir,
                memory_bytes=int(self.cache_memory_gb * 2**30),
                batch_size=self.eval_batch_size,
                strategy=tf.distribute.get_strategy(),
            )
        return model

    def dataset(self, split, batch_size, training, epoch_seed, first_batch=0):
        """Batches of `image`, or of `features` from the cache."""
        if self.cache_features:
            return self._cache.batches(split, batch_size, training, epoch_seed, first_batch)
        options = dict(
            batch_size=batch_size, training=training, epoch_seed=epoch_seed, first_batch=first_batch
        )
        options["parse"] = labels.parse_labelled(self.data_dir, split, len(self.class_names))
        return pipeline.augmented_images(
            self.data_dir, split, image_size=self.image_size, **options
        )

    def _features(self, images):
        return pooled_features(self._backbone, self.probed, images)

    def loss(self, model, batch, training):
        """Sum of the layers' cross-entropies, `accuracy/<layer>` and, of more than five classes,
        `top5/<layer>`.
        """
        if "features" in batch:
            features = tf.cast(batch["features"], tf.float32)
        else:
            features = tf.stop_gradient(self._features(batch["image"]))
        losses, metrics = 0.0, {}
        for layer, logits in model.classify(features, training=training).items():
            losses += tf.nn.sparse_softmax_cross_entropy_with_logits(batch["label"], logits)
            metrics[f"accuracy/{layer}"] = in_top_k(logits, batch["label"], 1)
            if len(self.class_names) > 5:
                metrics[f"top5/{layer}"] = in_top_k(logits, batch["label"], 5)
        return losses, metrics

    def pictures(self, model):
        """`confusion`: which classes are taken for which by the classifier that is right most
        often, where there are few.
        """

        @tf.function(autograph=False)
        def answers(batch):
            features = (
                tf.cast(batch["features"], tf.float32)
                if "features" in batch
                else self._features(batch["image"])
            )
            return {
                layer: tf.argmax(logits, -1)
                for layer, logits in model.classify(features, training=False).items()
            }

        return confusion_pictures(self, self.class_names, answers)

    def facts(self):
        """What was probed and how the accuracy is computed."""
        crops = (
            "central crops in training (cached features)"
            if self.cache_features
            else "random mirrored crops in training"
        )
        return dict(
            chance=1 / len(self.class_names),
            num_classes=len(self.class_names),
            grids=self.probed,
            definition=f"top-1 on the val split, one central crop, after the last step; {crops}; "
            "each layer max-pooled to its grid, batch "
            "normalisation without scale and shift, one linear layer; top5: among five answers; "
            f"{RANDOM_START}",
        )


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
    """A linear classifier on each layer's part of the pooled features."""

    def __init__(self, backbone, grids, num_classes, image_size):
        """Args: grids: endpoint -> cells a side."""
        super().__init__()
        self.backbone = backbone
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

    def classify(self, features, training):
        """Maps pooled features [B, D] to {layer: logits [B, classes]}."""
        parts = tf.split(features, list(self.sizes.values()), axis=1)
        return {
            name: self.classifiers[name](part, training=training)
            for name, part in zip(self.sizes, parts, strict=True)
        }

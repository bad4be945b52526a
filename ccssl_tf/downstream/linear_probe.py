"""Linear probe (paper Tables 4 and 5; Zhang et al. 2016): linear classifiers on frozen layers, all layers at once."""

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from ccssl_tf import network_flags, runtime, stage_flags
from ccssl_tf.data import image_ops, labels, pipeline
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.errors import FlagError, InputError
from ccssl_tf.layers.grid_pooling import grid_pool
from ccssl_tf.task import Task

_ENDPOINTS = flags.DEFINE_list("probe_endpoints", None, "Layers to probe; by default the last convolution of each of the five stages.")
_GRIDS = flags.DEFINE_list(
    "probe_grids",
    ["10", "6", "5", "5", "6"],
    "Cells a side each layer is max-pooled to (in the paper 9216 or 9600 numbers a layer).",
)
_CACHE = flags.DEFINE_bool(
    "cache_features", False, "Compute the frozen features once, of central crops, and keep them in memory (no augmentation)."
)

MAX_CACHE_BYTES = 4 * 2**30


class LinearProbe(Task):
    """One linear classifier on each layer of a frozen backbone: batch normalisation without scale and shift, then classes."""

    trains_backbone = False
    eval_split = "val"

    def __init__(self, *, data_dir, image_size, endpoints, grids, cache_features, eval_batch_size=64):
        """Checks that the images have labels.

        Args:
          data_dir: image shards with labels, splits train and val.
          image_size: S, pixels.
          endpoints: layer names; None for the last convolution of each stage.
          grids: cells a side, one a layer.
          cache_features: compute features once, in memory, from central crops.
          eval_batch_size: images.
        """
        self.data_dir, self.image_size, self.eval_batch_size = data_dir, image_size, eval_batch_size
        self.endpoints, self.grids, self.cache_features = endpoints, grids, cache_features
        self.class_names = labels.class_names(data_dir, splits=("train", "val"))
        self._manifest = Manifest.read(data_dir, "images")
        if min(grids, default=0) < 1:
            raise FlagError(f"--probe_grids={','.join(map(str, grids))}: cells a side must be 1 or more")
        self._backbone, self._cache = None, {}

    @classmethod
    def from_flags(cls):
        """Reads this module's flags and those of data and image size."""
        try:
            grids = [int(cells) for cells in _GRIDS.value]
        except ValueError as error:
            raise FlagError(f"--probe_grids={','.join(_GRIDS.value)}: expected whole numbers such as 10,6,5,5,6") from error
        return cls(
            data_dir=stage_flags.DATA_DIR.value,
            image_size=network_flags.IMAGE_SIZE.value,
            endpoints=_ENDPOINTS.value,
            grids=grids,
            cache_features=_CACHE.value,
        )

    def build_model(self, backbone):
        """Freezes the backbone and puts a classifier on each endpoint."""
        backbone.trainable = False
        self._backbone = backbone
        endpoints = self.endpoints or last_of_each_stage(backbone.endpoint_names)
        unknown = sorted(set(endpoints) - set(backbone.endpoint_names))
        if unknown:
            raise InputError(f"--probe_endpoints: no endpoint {unknown[0]}; there are {', '.join(backbone.endpoint_names)}")
        if len(self.grids) != len(endpoints):
            raise FlagError(f"--probe_grids has {len(self.grids)} numbers for {len(endpoints)} layers; give one each")
        self.probed = dict(zip(endpoints, self.grids, strict=True))
        return LinearClassifiers(backbone, self.probed, len(self.class_names), self.image_size)

    def dataset(self, split, batch_size, training, epoch_seed, first_batch=0):
        """Batches of `image`, or of `features` from the cache."""
        if self.cache_features:
            return self._cached_dataset(split, batch_size, training, epoch_seed, first_batch)
        return self._image_batches(split, batch_size, training, epoch_seed, first_batch)

    def _image_batches(self, split, batch_size, training=False, epoch_seed=(0, 0), first_batch=0):
        def load(parsed):
            if training:
                return dict(image=image_ops.augmented_crop(parsed["encoded"], self.image_size, parsed["seed"]))
            return dict(image=image_ops.evaluation_crop(parsed["encoded"], self.image_size))

        options = dict(batch_size=batch_size, training=training, epoch_seed=epoch_seed, first_batch=first_batch)
        return pipeline.batches(self.data_dir, split, load=load, **options)

    def _cached_dataset(self, split, batch_size, training, epoch_seed, first_batch):
        if split not in self._cache:
            self._cache[split] = self._compute_features(split)
        features, classes = self._cache[split]
        order = np.random.default_rng(list(epoch_seed)).permutation(len(classes)) if training else np.arange(len(classes))
        if training and len(order) < batch_size:
            raise InputError(f"{self.data_dir}: split {split} has {len(order)} images, fewer than one batch; use a smaller --batch_size")
        count = len(order) // batch_size if training else -(-len(order) // batch_size)
        weight = np.arange(count * batch_size) < len(order)
        order = np.resize(order, count * batch_size)
        batches = tf.data.Dataset.from_tensor_slices((order.reshape(count, -1), weight.reshape(count, -1).astype(np.float32)))

        def gather(rows, row_weight):
            return dict(features=tf.gather(features, rows), label=tf.gather(classes, rows), index=rows, weight=row_weight)

        return batches.skip(first_batch).map(gather).prefetch(2)

    def _compute_features(self, split):
        total, dim = self._manifest.num_examples(split), self._model_dim()
        if total * dim * 2 > MAX_CACHE_BYTES:
            raise InputError(
                f"--cache_features: {total} images x {dim} numbers need {total * dim * 2 / 2**30:.1f} GB, more than "
                f"{MAX_CACHE_BYTES / 2**30:.0f}; use --nocache_features or smaller --probe_grids"
            )
        features, classes = np.empty([total, dim], np.float16), np.empty([total], np.int64)
        compute = tf.function(lambda images: pooled_features(self._backbone, self.probed, images), autograph=False)
        progress, done = runtime.Progress(f"features of {split}", total, "images"), 0
        for batch in self._image_batches(split, self.eval_batch_size):
            rows = min(self.eval_batch_size, total - done)
            # float16 holds what linear classifiers need; large values are clipped to its range.
            block = np.clip(compute(batch["image"]).numpy()[:rows], -65504, 65504)
            features[done : done + rows], classes[done : done + rows] = block, batch["label"].numpy()[:rows]
            done += rows
            progress.update(done)
        return tf.constant(features), tf.constant(classes)

    def _model_dim(self):
        image = tf.zeros([1, self.image_size, self.image_size, 3], tf.uint8)
        return int(pooled_features(self._backbone, self.probed, image).shape[1])

    def loss(self, model, batch, training):
        """Sum of the layers' cross-entropies, and `accuracy/<layer>`."""
        if "features" in batch:
            features = tf.cast(batch["features"], tf.float32)
        else:
            features = tf.stop_gradient(pooled_features(model.backbone, self.probed, batch["image"]))
        losses, metrics = 0.0, {}
        for layer, logits in model.classify(features, training=training).items():
            losses += tf.nn.sparse_softmax_cross_entropy_with_logits(batch["label"], logits)
            metrics[f"accuracy/{layer}"] = tf.cast(tf.equal(tf.argmax(logits, -1), batch["label"]), tf.float32)
        return losses, metrics

    def facts(self):
        """What was probed and how the accuracy is computed."""
        crops = "central crops in training (cached features)" if self.cache_features else "random mirrored crops in training"
        return dict(
            chance=1 / len(self.class_names),
            num_classes=len(self.class_names),
            grids=self.probed,
            definition=f"top-1 on the val split, one central crop, after the last step; {crops}; "
            "each layer max-pooled to its grid, batch normalisation without scale and shift, one linear layer",
        )


def last_of_each_stage(endpoint_names) -> list[str]:
    """Returns the last endpoint of each stage conv1..conv5: conv1_2, conv2_2, conv3_3, ... for VGG16."""
    last = {}
    for name in endpoint_names:
        if name.startswith("conv"):
            last[name.split("_")[0]] = name
    return list(last.values())


def pooled_features(backbone, grids: dict[str, int], images):
    """Returns the layers' pooled activations side by side: images [B, S, S, 3] uint8 -> [B, D] float32."""
    endpoints = backbone(backbone.normalize(images), training=False)
    pooled = [grid_pool(endpoints[name], grid) for name, grid in grids.items()]
    return tf.concat([tf.reshape(tf.cast(x, tf.float32), [-1, np.prod(x.shape[1:])]) for x in pooled], axis=1)


class LinearClassifiers(keras.Model):
    """A linear classifier on each layer's part of the pooled features."""

    def __init__(self, backbone, grids, num_classes, image_size):
        """Args: grids: endpoint -> cells a side."""
        super().__init__()
        self.backbone = backbone
        shapes = backbone.compute_output_shape([1, image_size, image_size, 3])
        self.sizes = {name: min(grid, shapes[name][1]) * min(grid, shapes[name][2]) * shapes[name][3] for name, grid in grids.items()}
        self.classifiers = {}
        for name, size in self.sizes.items():
            norm = keras.layers.BatchNormalization(center=False, scale=False, momentum=0.9, epsilon=1e-5, synchronized=True)
            logits = keras.layers.Dense(num_classes, kernel_initializer=keras.initializers.RandomNormal(stddev=0.01), dtype="float32")
            self.classifiers[name] = keras.Sequential([keras.Input([size]), norm, logits], name=f"classifier_{name}")
        self.built = True

    def classify(self, features, training):
        """Maps pooled features [B, D] to {layer: logits [B, classes]}."""
        parts = tf.split(features, list(self.sizes.values()), axis=1)
        return {name: self.classifiers[name](part, training=training) for name, part in zip(self.sizes, parts, strict=True)}

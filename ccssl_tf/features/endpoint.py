"""An endpoint of a backbone, pooled to a grid, as a feature row: conv4 to 5x5 in the paper (section
4.2; experiments/PROTOCOLS.md, "Extraction").
"""

import collections
import concurrent.futures
import itertools

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from ccssl_tf import distribution, network_flags
from ccssl_tf.data import pipeline
from ccssl_tf.layers.grid_pooling import grid_pool
from ccssl_tf.models.backbone_file import backbone_fingerprint
from ccssl_tf.runs.errors import InputError

_ENDPOINT = flags.DEFINE_string(
    "endpoint",
    "conv4",
    "Layer whose activations are the features (conv4 in the paper; VGG16: conv4_3); any other "
    "layer by its name too.",
)
POOL_GRID = flags.DEFINE_integer(
    "pool_grid",
    5,
    "Cells a side the map is pooled to (5 for AlexNet, 4 for VGG16 in the paper).",
    lower_bound=1,
)
# Steps at a time: where one leaves cores idle, or waits for a GPU's answer, another works.
_AT_ONCE = 2
POOLING = flags.DEFINE_enum(
    "pooling", "max", ["max", "average"], "How a cell is pooled (max in the paper)."
)


class NetworkExtractor:
    """Whole images through a network, once, without augmentation; a subclass says what their rows
    are.
    """

    def __init__(self, *, image_size: int, batch_size: int):
        """Finds the rows' size by a first image; a subclass calls this when its `rows` can be.

        Args:
          image_size: S, pixels a side of the square the network sees.
          batch_size: images a step of one replica; whole batches go to the replicas of the current
            strategy, in whose scope the network was built, in turn.
        """
        self._image_size, self._batch_size = image_size, batch_size
        signature = [tf.TensorSpec([None, image_size, image_size, 3], tf.uint8)]
        self._features = tf.function(self.rows, input_signature=signature, autograph=False)
        self._strategy = strategy = tf.distribute.get_strategy()
        # The inner function is there because a strategy does not take apart what it passes to a
        # tf.function.
        self._on_replicas = tf.function(
            lambda images: strategy.run(lambda own: self._features(own), args=(images,)),
            reduce_retracing=True,
            autograph=False,
        )
        black = [tf.zeros([1, image_size, image_size, 3], tf.uint8)] * distribution.local_replicas(
            strategy
        )
        self.dim = int(self._results(black)[0].shape[-1])

    def rows(self, images):
        """Maps images [n, S, S, 3] uint8 to features [n, D] float32, D known when it is traced."""
        raise NotImplementedError

    def batches(self, data_dir, split: str, shards: list[int]):
        """Yields (index [n] int64, features [n, D] float32) for the images of the
        shards, in order.
        """
        images = pipeline.evaluation_images(
            data_dir, split, image_size=self._image_size, batch_size=self._batch_size, shards=shards
        )
        replicas = distribution.local_replicas(self._strategy)
        batches, running = iter(images), collections.deque()
        with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
            while group := list(itertools.islice(batches, replicas)):
                pixels = [batch["image"] for batch in group]
                pixels += [pixels[-1][:1]] * (replicas - len(group))
                running.append(
                    (
                        [batch["index"].numpy() for batch in group],
                        pool.submit(self._results, pixels),
                    )
                )
                if len(running) > _AT_ONCE:
                    yield from _finished(running.popleft())
            yield from itertools.chain.from_iterable(map(_finished, running))

    def _results(self, pixels):
        """Returns what each replica of this process makes of one of the batches in the list
        `pixels`.
        """
        results = self._on_replicas(distribution.to_replicas(pixels, self._strategy))
        return [features.numpy() for features in self._strategy.experimental_local_results(results)]


def _finished(step):
    """Yields (index, features) of the batches of a step (indices, future of their features)."""
    indices, features = step
    yield from zip(indices, features.result(), strict=False)


class EndpointExtractor(NetworkExtractor):
    """A layer of one of our backbones, pooled."""

    @classmethod
    def from_flags(cls, make_backbone):
        """Builds the extractor; `make_backbone()` returns the backbone the command's flags name."""
        return cls(
            make_backbone(),
            endpoint=_ENDPOINT.value,
            pool_grid=POOL_GRID.value,
            pooling=POOLING.value,
            image_size=network_flags.IMAGE_SIZE.value,
            batch_size=network_flags.BATCH_SIZE.value,
        )

    def __init__(
        self,
        backbone,
        *,
        endpoint: str,
        pool_grid: int,
        pooling: str,
        image_size: int,
        batch_size: int,
    ):
        """Checks that the backbone has the endpoint at this size.

        Args:
          backbone: a `ccssl_tf.models.backbone.Backbone`.
          endpoint: one of its `endpoint_names` or layers, with a map [B, h, w, C] or a vector [B,
            C].
          pool_grid: cells a side; a smaller map stays as it is.
          pooling: "max" or "average".
          image_size: S, pixels a side of the square the network sees.
          batch_size: images a step of one replica.
        """
        self._backbone, self._network = backbone, network_until(backbone, endpoint, "endpoint")
        self._parameters = dict(
            name="endpoint",
            endpoint=endpoint,
            pool_grid=pool_grid,
            pooling=pooling,
            image_size=image_size,
        )
        self._parameters["backbone"] = backbone.get_config()
        super().__init__(image_size=image_size, batch_size=batch_size)

    def describe(self) -> dict:
        """Returns what the manifest says of the features: `extractor` with its parameters,
        `backbone_fingerprint`.
        """
        return dict(
            extractor=self._parameters, backbone_fingerprint=backbone_fingerprint(self._backbone)
        )

    def inputs(self) -> dict[str, str]:
        """Returns flag name -> path of what is read besides images and backbone: nothing."""
        return {}

    def rows(self, images):
        """The endpoint, pooled and flattened."""
        features = self._network(self._backbone.normalize(images), training=False)
        return pooled_rows(features, self._parameters["pool_grid"], self._parameters["pooling"])


def network_until(model, name: str, flag: str) -> keras.Model:
    """Returns the part of a Functional model that ends with an output of that name, or with a layer
    of it.

    Args:
      model: with one input.
      name: a key of its outputs, or a layer.
      flag: the flag that gave the name.

    Raises:
      InputError: it has neither; the message says what it has.
    """
    outputs = (
        dict(model.output)
        if isinstance(model.output, dict)
        else dict(zip(model.output_names, model.outputs, strict=True))
    )
    layers = [layer.name for layer in model.layers]
    if name not in outputs and name not in layers:
        raise InputError(
            f"--{flag}={name}: this network has {shortened(outputs)}, and the layers "
            f"{shortened(layers)}"
        )
    return keras.Model(
        model.inputs[0], outputs[name] if name in outputs else model.get_layer(name).output
    )


def shortened(names, most: int = 12) -> str:
    """Returns names as text, those in the middle of a long list left out."""
    names = list(names)
    shown = (
        names
        if len(names) <= most
        else [*names[: most // 2], f"... {len(names) - most} more ...", *names[-most // 2 :]]
    )
    return ", ".join(shown)


def pooled_rows(features, pool_grid: int, pooling: str):
    """Maps [n, h, w, C] or [n, C], of any float dtype, to rows [n, D] float32: a map is pooled to a
    grid first.
    """
    if features.shape.rank == 4:
        features = grid_pool(features, pool_grid, pooling)
    return tf.reshape(
        tf.cast(features, tf.float32), [tf.shape(features)[0], np.prod(features.shape[1:])]
    )

"""What extractors that run a network share: batches of whole images, on all replicas, pooled."""

import abc
import collections
import concurrent.futures
import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from ccssl_tf import distribution
from ccssl_tf.data import image_batches
from ccssl_tf.layers.grid_pooling import grid_pool
from ccssl_tf.runs.settings import Settings, setting
from ccssl_tf.task import Extractor

# Steps at a time: where one leaves cores idle, or waits for a GPU's answer, another works.
_AT_ONCE = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchSettings(Settings):
    """How many images a network sees together."""

    batch_size: int = setting(256, "Images a step of one replica.", minimum=1, maximum=2**16)


class NetworkExtractor(Extractor):
    """Whole images through a network, once, without augmentation."""

    def __init__(self, settings: Settings):
        """Finds the rows' size by a first image; a subclass calls this when its `rows` can be.

        Whole batches go to the replicas of the current strategy, in whose scope the network was
        built, in turn.

        Args:
          settings: what was left open set; with `image_size`, S, pixels a side of the square the
            network sees, and `batch_size`, images a step of one replica.
        """
        self.settings = settings
        size = self.settings.image_size
        signature = [tf.TensorSpec([None, size, size, 3], tf.uint8)]
        self._features = tf.function(self.rows, input_signature=signature, autograph=False)
        self._strategy = strategy = tf.distribute.get_strategy()
        # The inner function is there because a strategy does not take apart what it passes to a
        # tf.function.
        self._on_replicas = tf.function(
            lambda images: strategy.run(lambda part: self._features(part), args=(images,)),
            reduce_retracing=True,
            autograph=False,
        )
        black = [tf.zeros([1, size, size, 3], tf.uint8)] * distribution.local_replicas(strategy)
        self.dim = int(self._results(black)[0].shape[-1])

    @abc.abstractmethod
    def rows(self, images) -> tf.Tensor:
        """Maps images [n, S, S, 3] uint8 to features [n, D] float32, D known when it is traced."""

    def batches(
        self, data_dir, split: str, shards: list[int]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields the rows of the images of the shards, in order."""
        images = image_batches.evaluation_images(
            data_dir,
            split,
            image_size=self.settings.image_size,
            batch_size=self.settings.batch_size,
            shards=shards,
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
        """Returns what each replica of this process makes of its batch in the list `pixels`."""
        results = self._on_replicas(distribution.to_replicas(pixels, self._strategy))
        return [features.numpy() for features in self._strategy.experimental_local_results(results)]


def _finished(step):
    """Yields (index, features) of the batches of a step (indices, future of their features)."""
    indices, features = step
    yield from zip(indices, features.result(), strict=False)


def pooled_rows(features, pool_grid: int, pooling: str) -> tf.Tensor:
    """Maps [n, h, w, C], pooled to a grid first, or [n, C] of any dtype to rows [n, D] float32."""
    if features.shape.rank == 4:
        features = grid_pool(features, pool_grid, pooling)
    return tf.reshape(
        tf.cast(features, tf.float32), [tf.shape(features)[0], np.prod(features.shape[1:])]
    )

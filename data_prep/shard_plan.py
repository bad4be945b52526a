"""Decides, before anything is converted, how many shards there are and which images each holds, and
estimates what they will take.

Each split is permuted with the seed, so that every shard is a random sample of the set. Nothing
depends on the number of processes.
"""

import contextlib
import itertools
import math
import pathlib
import time
import zlib
from collections.abc import Hashable

import numpy as np

from ccssl_tf.data import manifest as manifest_lib
from data_prep import decoding, jpeg
from data_prep.image_set import ImageSet
from data_prep.shard_worker import ShardTask

_SHARD_BYTES = 128 * 2**20
_MAX_SHARDS = {"train": 1024, "trainval": 1024}
_MAX_OTHER_SHARDS = 128
# Small sets still make shards enough to keep a machine's cores busy; the number may not depend on
# how many there are.
_PARALLEL_SHARDS, _PARALLEL_SHARD_IMAGES = 16, 250
_SAMPLED_IMAGES = 32
# Where a source is read in groups, as many shards share theirs: each reads that many times what it
# holds, and is a random sample of that many shards' groups. Sets of so few shards are mixed wholly.
_SHARDS_MIXED = 4


def convert_sample(
    image_set: ImageSet, options: decoding.DecodeOptions, seed: int
) -> tuple[float, float]:
    """Converts a few images, chosen with the seed, and writes nothing.

    Returns:
      Bytes that would be written for each byte of the source, and seconds per image of one process.
    """
    items = [item for split in image_set.splits.values() for item in split]
    chosen = np.random.default_rng(seed).choice(
        len(items), min(_SAMPLED_IMAGES, len(items)), replace=False
    )
    before, after, seconds = 0, 0, []
    # In the source's order, so that what is read in groups is read once.
    for item in (items[i] for i in sorted(chosen)):
        with contextlib.suppress(decoding.BadImage):
            start = time.perf_counter()
            # What needs TensorFlow's opinion may wait for the workers, who have imported it.
            image = decoding.convert_image(
                image_set.read(item.location), options, check_jpeg=jpeg.check_strictly
            )
            seconds.append(time.perf_counter() - start)
            after += len(image.encoded)
            before += item.size
    return (after / before if before else 1.0), float(np.median(seconds)) if seconds else 0.0


def plan_split(
    image_set: ImageSet,
    split: str,
    directory: pathlib.Path,
    options: decoding.DecodeOptions,
    *,
    num_bytes: float,
    seed: int,
) -> list[ShardTask]:
    """Returns the shards of one split, in order.

    Args:
      image_set: what the converter found.
      split: name of the split.
      directory: where the shards go.
      options: for the images.
      num_bytes: estimate of what the whole split will take.
      seed: of the order.
    """
    items = image_set.splits[split]
    random = np.random.default_rng([seed, zlib.crc32(split.encode())])
    num_shards = shards_for(split, len(items), num_bytes)
    bounds = [k * len(items) // num_shards for k in range(num_shards + 1)]
    if image_set.group_of is None:
        order = random.permutation(len(items))
    else:
        order = _grouped_order(list(map(image_set.group_of, items)), bounds, random)
    return [
        ShardTask(
            path=directory / manifest_lib.shard_name(split, k, num_shards),
            items=[items[i] for i in order[bounds[k] : bounds[k + 1]]],
            first_index=bounds[k],
            read=image_set.read,
            class_names=image_set.class_names,
            options=options,
            annotator=image_set.annotator,
        )
        for k in range(num_shards)
    ]


def _grouped_order(group_of: list[Hashable], bounds: list[int], random) -> list[int]:
    """A permutation of items of which those of a group are read at once.

    Groups are permuted and cut into blocks of `_SHARDS_MIXED` shards; items are permuted within a
    block. In a shard those of one group come together, so that it reads each group once.

    Args:
      group_of: group of each item.
      bounds: where shards begin, and the last one ends.
      random: generator.
    """
    numbers = {group: number for number, group in enumerate(dict.fromkeys(group_of))}
    group = np.array([numbers[one] for one in group_of])
    rank = random.permutation(len(numbers))[group]
    mixed = random.permutation(len(group))
    # Stable: within a group the order stays random.
    order = mixed[np.argsort(rank[mixed], kind="stable")]
    for first in range(0, len(bounds) - 1, _SHARDS_MIXED):
        end = min(first + _SHARDS_MIXED, len(bounds) - 1)
        random.shuffle(order[bounds[first] : bounds[end]])
    for start, end in itertools.pairwise(bounds):
        shard = order[start:end]
        order[start:end] = shard[np.argsort(rank[shard], kind="stable")]
    return order.tolist()


def shards_for(split: str, num_images: int, num_bytes: float) -> int:
    """Returns the number of shards: about 128 MB each, more for small sets, a function of the data
    alone.
    """
    wanted = max(
        math.ceil(num_bytes / _SHARD_BYTES),
        min(_PARALLEL_SHARDS, num_images // _PARALLEL_SHARD_IMAGES),
        1,
    )
    return min(wanted, num_images, _MAX_SHARDS.get(split, _MAX_OTHER_SHARDS))

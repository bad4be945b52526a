"""Batches of images as most tasks want them: whole, cropped or augmented; see `pipeline`."""

import pathlib

import numpy as np
import tensorflow as tf

from ccssl_tf.data import image_ops, records
from ccssl_tf.data.datasets import fixed
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.data.pipeline import BATCHES_AHEAD, Epoch, batches
from ccssl_tf.runs import machine


def augmented_images(directory, split, epoch: Epoch, *, image_size, **options) -> tf.data.Dataset:
    """Returns `batches` of `image` [B, S, S, 3] uint8: random mirrored crops in training, the
    centre otherwise.
    """

    def load(parsed):
        if epoch.training:
            return dict(
                image=image_ops.augmented_crop(parsed["encoded"], image_size, parsed["seed"])
            )
        return dict(image=image_ops.evaluation_crop(parsed["encoded"], image_size))

    return batches(directory, split, epoch, load=load, **options)


def cropped_images(
    directory, split, epoch: Epoch, *, crop_size, short_side, **options
) -> tf.data.Dataset:
    """Returns `batches` of `image` [B, crop_size, crop_size, 3] uint8: random crops in training,
    the centre otherwise.
    """

    def load(parsed):
        if epoch.training:
            return dict(
                image=image_ops.random_crop(
                    parsed["encoded"], crop_size, short_side, parsed["seed"]
                )
            )
        return dict(image=image_ops.center_crop(parsed["encoded"], crop_size, short_side))

    return batches(directory, split, epoch, load=load, **options)


def held_out_split(directory) -> str | None:
    """Returns "val" where the directory has that split, else None."""
    return "val" if "val" in Manifest.read(directory, "images").splits else None


def evaluation_images(directory, split, *, image_size, batch_size, shards=None) -> tf.data.Dataset:
    """Returns whole images in file order, the last batch partial.

    Args:
      directory: image shards.
      split: split name.
      image_size: S, pixels a side.
      batch_size: images a batch.
      shards: numbers of the shards to read; a batch then holds images of one shard, the last of
        each is partial. All by default.

    Returns:
      Dataset of dicts: image [b, S, S, 3] uint8, index [b] int64, label [b] int64, filename [b]
        string.
    """
    directory = pathlib.Path(directory)
    all_shards = Manifest.read(directory, "images").shards(split)

    @tf.autograph.experimental.do_not_convert
    def example(one, is_wanted):
        parsed = records.parse_image(one)
        encoded = parsed.pop("encoded")
        black = tf.zeros([image_size, image_size, 3], tf.uint8)
        return dict(
            parsed,
            image=tf.cond(
                is_wanted, lambda: image_ops.whole_image(encoded, image_size), lambda: black
            ),
        )

    def wanted(paths, count):
        serialized = tf.data.TFRecordDataset(paths).apply(
            tf.data.experimental.assert_cardinality(count)
        )
        return serialized.map(lambda one: (one, True))

    def batched(serialized):
        return serialized.map(example, num_parallel_calls=machine.num_cores()).batch(batch_size)

    if shards is None:
        paths, count = (
            [str(directory / shard.name) for shard in all_shards],
            sum(shard.num_examples for shard in all_shards),
        )
        return fixed(batched(wanted(paths, count)).prefetch(BATCHES_AHEAD))
    chosen = [all_shards[number] for number in shards]
    paths = tf.constant([str(directory / shard.name) for shard in chosen], tf.string)
    counts = np.array([shard.num_examples for shard in chosen], np.int64)

    @tf.autograph.experimental.do_not_convert
    def filled_up(path, count):
        """The records of a shard, then its first one again up to whole batches: one stream of all
        shards keeps every core at work.
        """
        first = tf.data.TFRecordDataset(path).take(1).map(lambda one: (one, False))
        return wanted(path, count).concatenate(first.repeat(-count % batch_size))

    @tf.autograph.experimental.do_not_convert
    def own_images(batch, count):
        return {name: values[:count] for name, values in batch.items()}

    sizes = [
        min(batch_size, int(count) - start)
        for count in counts
        for start in range(0, int(count), batch_size)
    ]
    serialized = tf.data.Dataset.from_tensor_slices((paths, counts)).flat_map(filled_up)
    batches = tf.data.Dataset.zip(
        batched(serialized), tf.data.Dataset.from_tensor_slices(np.array(sizes, np.int64))
    ).map(own_images)
    return fixed(batches.prefetch(BATCHES_AHEAD))

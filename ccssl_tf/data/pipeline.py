"""Reads image shards as batches: a training order that is a pure function of (seed, epoch), an
evaluation order that is the file's.

Training order: shards are permuted, then examples inside windows of whole shards. Nothing about it
is kept in a checkpoint; a resumed run names its first batch, and whole windows before it are
skipped by the manifest's counts without being read.
"""

import itertools
import pathlib

import numpy as np
import tensorflow as tf

from ccssl_tf.data import image_ops, records
from ccssl_tf.data.datasets import fixed, serialized_records
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.runs import machine
from ccssl_tf.runs.errors import InputError

# Two windows are in memory at a time: the one being read out and the next.
WINDOW_BYTES = 512 * 2**20
_BATCHES_AHEAD = 4


def training_windows(
    manifest: Manifest, split: str, epoch_seed, window_bytes: int = WINDOW_BYTES
) -> list[list[int]]:
    """Returns the shard numbers of each window, in training order, for `epoch_seed` = (seed,
    epoch).
    """
    shards = manifest.shards(split)
    windows, room = [], 0
    for shard in np.random.default_rng(list(epoch_seed)).permutation(len(shards)):
        if not windows or shards[shard].num_bytes > room:
            windows.append([])
            room = window_bytes
        windows[-1].append(int(shard))
        room -= shards[shard].num_bytes
    return windows


def training_batches(
    directory,
    split,
    *,
    batch_size,
    epoch_seed,
    load,
    parse=records.parse_image,
    first_batch=0,
    copies=None,
    padding=None,
    window_bytes=WINDOW_BYTES,
) -> tf.data.Dataset:
    """Returns one epoch of training batches, remainder dropped.

    Args:
      directory: image shards.
      split: split name.
      batch_size: examples a batch.
      epoch_seed: (seed, epoch), non-negative integers: everything random follows from them.
      load: maps one parsed record, with its `seed` [2] int64, to a dict of tensors of fixed shape.
        `seed`, `index` and `label` are added.
      first_batch: batches of this epoch to leave out, because a run being resumed has seen them.
      copies: [N] int32, how often each image, by index, comes in this epoch; once each by default.
        Copies of one image differ in `seed` and come within one window.
      padding: name -> value, for tensors whose shapes differ: each is continued by its value to the
        batch's greatest size.
      parse: maps a serialised record to what `load` takes, with at least `index` and `label`;
        `voc_records.parse_voc_image` for VOC's.
      window_bytes: shards are shuffled together up to about this size.

    Raises:
      InputError: the split has fewer examples than one batch.
    """
    directory = pathlib.Path(directory)
    manifest = Manifest.read(directory, "images")
    shards = manifest.shards(split)
    # Images are numbered in the order of the shards. How often one comes is known without reading
    # it, so windows can still be skipped.
    starts = np.cumsum([0] + [shard.num_examples for shard in shards])
    copies = np.ones(starts[-1], np.int32) if copies is None else copies
    drawn = [int(copies[start:stop].sum()) for start, stop in itertools.pairwise(starts)]
    total = sum(drawn)
    if total < batch_size:
        raise InputError(
            f"{directory}: split {split} has {total} images, fewer than one batch; use "
            f"--batch_size={total} or smaller"
        )
    seed, epoch = epoch_seed
    skip = first_batch * batch_size
    files, counts, seeds = [], [], []
    for number, window in enumerate(training_windows(manifest, split, epoch_seed, window_bytes)):
        count = sum(drawn[shard] for shard in window)
        if not count or (not files and skip >= count):
            skip -= count
            continue
        files.append([str(directory / shards[shard].name) for shard in window])
        counts.append(sum(shards[shard].num_examples for shard in window))
        seeds.append([seed, epoch * 2**20 + number])
    copies = tf.constant(copies)

    @tf.autograph.experimental.do_not_convert
    def read_window(names, count, window_seed):
        # The number of files read side by side decides their order, so it is fixed.
        records_of_window = fixed(tf.data.TFRecordDataset(names, num_parallel_reads=8))
        serialized = records_of_window.batch(count).get_single_element()
        times = tf.gather(copies, records.parse_indices(serialized))
        rows = tf.repeat(tf.range(tf.size(times)), times)
        copy = tf.range(tf.size(rows)) - tf.gather(tf.cumsum(times, exclusive=True), rows)
        order = tf.argsort(tf.random.stateless_uniform(tf.shape(rows), window_seed), stable=True)
        return serialized, tf.gather(rows, order), tf.gather(copy, order)

    @tf.autograph.experimental.do_not_convert
    def in_order(serialized, rows, copy):
        return tf.data.Dataset.from_tensor_slices((rows, copy)).map(
            lambda row, number: (serialized[row], number)
        )

    names = tf.ragged.constant(files, dtype=tf.string, ragged_rank=1)
    windows = tf.data.Dataset.from_tensor_slices(
        (names, np.array(counts, np.int64), np.array(seeds, np.int64).reshape(-1, 2))
    )
    serialized = windows.map(read_window).prefetch(1).flat_map(in_order).skip(skip)

    @tf.autograph.experimental.do_not_convert
    def example(one, copy):
        parsed = parse(one)
        own = parsed["index"] + tf.cast(copy, tf.int64) * 2**32
        parsed["seed"] = tf.stack([tf.constant(seed * 2**32 + epoch, tf.int64), own])
        return dict(load(parsed), **{name: parsed[name] for name in ("seed", "index", "label")})

    batches = _batched(
        serialized.map(example, num_parallel_calls=machine.num_cores()), batch_size, padding
    )
    batches = batches.apply(
        tf.data.experimental.assert_cardinality(total // batch_size - first_batch)
    )
    return fixed(batches.prefetch(_BATCHES_AHEAD))


def evaluation_batches(
    directory, split, *, batch_size, load, parse=records.parse_image, padding=None
) -> tf.data.Dataset:
    """Returns every example once, in file order, with fixed seeds.

    The last batch is filled up to `batch_size` by repeating its own or the first examples; `weight`
    [B] float32 is 0 for those. Arguments and the rest of a batch are as in `training_batches`.
    """
    directory = pathlib.Path(directory)
    manifest = Manifest.read(directory, "images")
    total = manifest.num_examples(split)
    if not total:
        raise InputError(f"{directory}: split {split} is empty")
    padded = -(-total // batch_size) * batch_size
    files = [directory / shard.name for shard in manifest.shards(split)]

    @tf.autograph.experimental.do_not_convert
    def example(position, one):
        parsed = parse(one)
        parsed["seed"] = tf.stack([tf.constant(-1, tf.int64), parsed["index"]])
        weight = tf.cast(position < total, tf.float32)
        return dict(
            load(parsed),
            weight=weight,
            **{name: parsed[name] for name in ("seed", "index", "label")},
        )

    serialized = serialized_records(files).apply(tf.data.experimental.assert_cardinality(total))
    numbered = serialized.repeat().take(padded).enumerate()
    return _batched(
        numbered.map(example, num_parallel_calls=machine.num_cores()), batch_size, padding
    ).prefetch(_BATCHES_AHEAD)


def _batched(examples, batch_size, padding):
    if not padding:
        return examples.batch(batch_size, drop_remainder=True)
    values = {
        name: tf.constant(padding.get(name, 0), spec.dtype)
        for name, spec in examples.element_spec.items()
    }
    return examples.padded_batch(batch_size, padding_values=values, drop_remainder=True)


def batches(
    directory,
    split,
    *,
    batch_size,
    training,
    epoch_seed,
    load,
    parse=records.parse_image,
    first_batch=0,
    copies=None,
    padding=None,
) -> tf.data.Dataset:
    """Returns `training_batches` of an epoch, or, where not `training`, `evaluation_batches`: what
    most tasks' datasets are.
    """
    if training:
        options = dict(
            epoch_seed=epoch_seed, first_batch=first_batch, copies=copies, padding=padding
        )
        return training_batches(
            directory, split, batch_size=batch_size, load=load, parse=parse, **options
        )
    return evaluation_batches(
        directory, split, batch_size=batch_size, load=load, parse=parse, padding=padding
    )


def augmented_images(directory, split, *, image_size, **options) -> tf.data.Dataset:
    """Returns `batches` of `image` [B, S, S, 3] uint8: random mirrored crops in training, the
    centre otherwise.
    """

    def load(parsed):
        if options["training"]:
            return dict(
                image=image_ops.augmented_crop(parsed["encoded"], image_size, parsed["seed"])
            )
        return dict(image=image_ops.evaluation_crop(parsed["encoded"], image_size))

    return batches(directory, split, load=load, **options)


def cropped_images(directory, split, *, crop_size, short_side, **options) -> tf.data.Dataset:
    """Returns `batches` of `image` [B, crop_size, crop_size, 3] uint8: random crops in training,
    the centre otherwise.
    """

    def load(parsed):
        if options["training"]:
            return dict(
                image=image_ops.random_crop(
                    parsed["encoded"], crop_size, short_side, parsed["seed"]
                )
            )
        return dict(image=image_ops.center_crop(parsed["encoded"], crop_size, short_side))

    return batches(directory, split, load=load, **options)


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
        return fixed(batched(wanted(paths, count)).prefetch(_BATCHES_AHEAD))
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
    return fixed(batches.prefetch(_BATCHES_AHEAD))

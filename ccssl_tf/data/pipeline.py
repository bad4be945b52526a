"""Reads image shards as batches, in an order that follows from the epoch alone.

The order of evaluation is the files'. That of training is a pure function of (seed, epoch): shards
are permuted, then examples inside windows of whole shards. Nothing about it
is kept in a checkpoint; a resumed run names its first batch, and whole windows before it are
skipped by the manifest's counts without being read.
"""

import dataclasses
import itertools
import pathlib

import numpy as np
import tensorflow as tf

from ccssl_tf.data import records
from ccssl_tf.data.datasets import fixed, serialized_records
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.runs import machine
from ccssl_tf.runs.errors import InputError

# Two windows are in memory at a time: the one being read out and the next.
WINDOW_BYTES = 512 * 2**20
BATCHES_AHEAD = 4


@dataclasses.dataclass(frozen=True)
class Epoch:
    """Which images come in which order, and in how large batches.

    Attributes:
      batch_size: B, images a batch.
      seed: everything random in training follows from it, the epoch and the image.
      number: of the epoch, from 0.
      first_batch: batches of this epoch to leave out, because a run being resumed has seen them.
      training: False: every image once in the files' order, with fixed seeds; seed, number and
        first_batch then say nothing.

    >>> from ccssl_tf import Epoch
    >>> Epoch(batch_size=64, seed=3, number=2)
    Epoch(batch_size=64, seed=3, number=2, first_batch=0, training=True)
    """

    batch_size: int
    seed: int = 0
    number: int = 0
    first_batch: int = 0
    training: bool = True


def training_windows(
    manifest: Manifest, split: str, epoch: Epoch, window_bytes: int = WINDOW_BYTES
) -> list[list[int]]:
    """Returns the shard numbers of each window, in the training order of the epoch."""
    shards = manifest.shards(split)
    order = np.random.default_rng([epoch.seed, epoch.number]).permutation(len(shards))
    windows: list[list[int]] = []
    room = 0
    for shard in order:
        if not windows or shards[shard].num_bytes > room:
            windows.append([])
            room = window_bytes
        windows[-1].append(int(shard))
        room -= shards[shard].num_bytes
    return windows


def training_batches(
    directory,
    split,
    epoch: Epoch,
    *,
    load,
    parse=records.parse_image,
    copies=None,
    padding=None,
    window_bytes=WINDOW_BYTES,
) -> tf.data.Dataset:
    """Returns one epoch of training batches, remainder dropped.

    Args:
      directory: image shards.
      split: split name.
      epoch: which one, from which batch on.
      load: maps one parsed record, with its `seed` [2] int64, to a dict of tensors of fixed shape.
        `seed`, `index` and `label` are added.
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
    shards, batch_size = manifest.shards(split), epoch.batch_size
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
    skip = epoch.first_batch * batch_size
    files: list[list[str]] = []
    counts, seeds = [], []
    for number, window in enumerate(training_windows(manifest, split, epoch, window_bytes)):
        count = sum(drawn[shard] for shard in window)
        if not count or (not files and skip >= count):
            skip -= count
            continue
        files.append([str(directory / shards[shard].name) for shard in window])
        counts.append(sum(shards[shard].num_examples for shard in window))
        seeds.append([epoch.seed, epoch.number * 2**20 + number])
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
        image = parsed["index"] + tf.cast(copy, tf.int64) * 2**32
        parsed["seed"] = tf.stack([tf.constant(epoch.seed * 2**32 + epoch.number, tf.int64), image])
        return dict(load(parsed), **{name: parsed[name] for name in ("seed", "index", "label")})

    batches = _batched(
        serialized.map(example, num_parallel_calls=machine.num_cores()), batch_size, padding
    )
    batches = batches.apply(
        tf.data.experimental.assert_cardinality(total // batch_size - epoch.first_batch)
    )
    return fixed(batches.prefetch(BATCHES_AHEAD))


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
    ).prefetch(BATCHES_AHEAD)


def _batched(examples, batch_size, padding):
    if not padding:
        return examples.batch(batch_size, drop_remainder=True)
    values = {
        name: tf.constant(padding.get(name, 0), spec.dtype)
        for name, spec in examples.element_spec.items()
    }
    return examples.padded_batch(batch_size, padding_values=values, drop_remainder=True)


def batches(
    directory, split, epoch: Epoch, *, load, parse=records.parse_image, copies=None, padding=None
) -> tf.data.Dataset:
    """Returns `training_batches` of a training epoch, else `evaluation_batches`: what the datasets
    of most tasks are.
    """
    options = dict(load=load, parse=parse, padding=padding)
    if epoch.training:
        return training_batches(directory, split, epoch, copies=copies, **options)
    return evaluation_batches(directory, split, batch_size=epoch.batch_size, **options)

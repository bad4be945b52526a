"""File names and labels of a split, read in one sequential pass, and single images by index."""

import dataclasses
import itertools
import os
import pathlib
import struct

import numpy as np
import tensorflow as tf

from ccssl_tf.data import records
from ccssl_tf.data.datasets import fixed
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.runs.errors import CorruptArtifactError, InputError

# A TFRecord consists of its length (8 bytes), a checksum of the length (4), the data and a checksum
# of the data (4).
_HEADER_BYTES, _FRAME_BYTES = 12, 16


@dataclasses.dataclass(frozen=True)
class ImageFacts:
    """What is known of the images of one split.

    Attributes:
      filenames: list of N bytes, the name of the image with each index.
      labels: [N] int64, its class; -1 where it has none.
      shards: paths of the files.
      places: [N, 2] int64, number of the shard and byte at which the record begins there.
    """

    filenames: list[bytes]
    labels: np.ndarray
    shards: list[pathlib.Path]
    places: np.ndarray

    def encoded(self, index: int) -> bytes:
        """Returns the JPEG of the image with this index."""
        number, offset = self.places[index]
        with open(self.shards[number], "rb") as file:
            file.seek(offset)
            (length,) = struct.unpack("<Q", file.read(_HEADER_BYTES)[:8])
            return records.parse_image(file.read(length))["encoded"].numpy()


def read_image_facts(directory: str | os.PathLike, split: str, fingerprint: str) -> ImageFacts:
    """Reads file names and labels; the images themselves are not decoded.

    Args:
      directory: path of image shards and their manifest.
      split: name of the split.
      fingerprint: the one that the split must have.

    Raises:
      InputError: the split has another fingerprint.
      CorruptArtifactError: a shard is damaged.
    """
    directory = pathlib.Path(directory)
    check_images(directory, split, fingerprint)
    manifest = Manifest.read(directory, "images")
    shards = manifest.shards(split)
    paths = [directory / shard.name for shard in shards]
    count = manifest.num_examples(split)
    filenames, labels, places = (
        [b""] * count,
        np.full(count, records.UNLABELLED, np.int64),
        np.full([count, 2], -1, np.int64),
    )

    def parse(serialized: tf.Tensor) -> tuple[tf.Tensor, ...]:
        parsed = records.parse_image(serialized)
        return (
            parsed["index"],
            parsed["filename"],
            parsed["label"],
            tf.cast(tf.strings.length(serialized), tf.int64),
        )

    names = tf.constant([str(path) for path in paths])
    dataset = fixed(tf.data.Dataset.range(len(paths))).interleave(
        lambda number: (
            tf.data.TFRecordDataset(names[number])
            .map(parse)
            .batch(1024)
            .map(lambda *facts: (number, *facts))
        ),
        cycle_length=min(4, len(paths)),
        num_parallel_calls=min(4, len(paths)),
        deterministic=True,
    )
    ends = np.zeros(len(paths), np.int64)
    try:
        for number, index, names_here, classes, lengths in dataset.prefetch(4).as_numpy_iterator():
            stops = ends[number] + np.cumsum(lengths + _FRAME_BYTES)
            places[index, 0], places[index, 1] = number, stops - lengths - _FRAME_BYTES
            labels[index] = classes
            for position, name in zip(index, names_here, strict=True):
                filenames[position] = name
            ends[number] = stops[-1]
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError, IndexError) as error:
        raise CorruptArtifactError(
            f"{directory}: damaged records in split {split}; data_prep.verify tells where"
        ) from error
    if places.size and places.min() < 0:
        missing = int(np.flatnonzero(places[:, 0] < 0)[0])
        raise CorruptArtifactError(
            f"{directory}: split {split} has no image with index {missing}; convert the images "
            "again"
        )
    return ImageFacts(filenames, labels, paths, places)


def short_sides(directory: str | os.PathLike, split: str, count: int) -> np.ndarray:
    """Returns the shorter sides, pixels, of the first images of a split, [n] int64, n <= count; a
    shard is a random sample of its split, so they are like the others.
    """
    shards = Manifest.read(directory, "images").shards(split)
    serialized = itertools.chain.from_iterable(
        records.read_shard(pathlib.Path(directory) / shard.name) for shard in shards
    )
    sides = [
        int(tf.reduce_min(tf.io.extract_jpeg_shape(records.parse_image(one)["encoded"])[:2]))
        for one in itertools.islice(serialized, count)
    ]
    return np.array(sides, np.int64)


def check_images(directory: str | os.PathLike, split: str, fingerprint: str) -> None:
    """Raises InputError, naming both fingerprints, if a split has another than `fingerprint`."""
    present = Manifest.read(directory, "images").fingerprint(split)
    if present != fingerprint:
        raise InputError(
            f"{directory}: split {split} has fingerprint {present}, but the features were "
            f"extracted from {fingerprint}; extract them again, or name the right --data_dir"
        )

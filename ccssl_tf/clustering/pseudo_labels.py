"""(c) Pseudo-labels as records: written with file name and distance, read as a vector by index."""

import dataclasses
import os
import pathlib
from typing import Any

import numpy as np
import tensorflow as tf

from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.data import records
from ccssl_tf.data.datasets import serialized_records
from ccssl_tf.runs.errors import CorruptArtifactError, InputError

# Records of a shard, at most.
_SHARD_ROWS = 1 << 18


@dataclasses.dataclass(frozen=True)
class PseudoLabels:
    """The pseudo-labels of one split of images.

    Attributes:
      images_fingerprint: str, fingerprint of the split of images that they belong to.
      index: [N] int64, image indices, each of [0, N) once.
      labels: [N] int32 in [0, K), of the images in the order of `index`.
      distances: [N] float32, of their features to the centroids of their labels.
      filenames: list of N bytes, their file names; None where they are not known.

    >>> labels = np.array([1, 0, 1], np.int32)
    >>> pseudo_labels = PseudoLabels("1a2b", np.arange(3), labels, np.zeros(3, np.float32))
    >>> print(pseudo_labels.labels[pseudo_labels.index == 2], pseudo_labels.filenames)
    [1] None
    """

    images_fingerprint: str
    index: np.ndarray
    labels: np.ndarray
    distances: np.ndarray
    filenames: list[bytes] | None = None


def write_pseudo_labels(
    directory: str | os.PathLike,
    splits: dict[str, PseudoLabels],
    *,
    num_clusters: int,
    info: dict[str, Any] | None = None,
) -> manifest_lib.Manifest:
    """Writes records and, last, the manifest.

    Args:
      directory: path of an existing directory.
      splits: split name -> its pseudo-labels.
      num_clusters: K.
      info: more facts for the manifest.

    Returns:
      The manifest.

    Raises:
      InputError: a label outside [0, K), or an image index missing or there twice.

    >>> import tempfile
    >>> labels = PseudoLabels("1a2b", np.arange(3), np.array([1, 0, 1]), np.zeros(3))
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     write_pseudo_labels(directory, {"train": labels}, num_clusters=2).num_examples("train")
    3
    """
    directory = pathlib.Path(directory)
    for split, labels in splits.items():
        fault = _fault(labels.index, labels.labels, num_clusters)
        if fault:
            raise InputError(f"pseudo-labels of split {split}: {fault}")
    shards = {split: _write_split(directory, split, labels) for split, labels in splits.items()}
    fingerprints = {split: labels.images_fingerprint for split, labels in splits.items()}
    manifest = manifest_lib.Manifest(
        "pseudo_labels",
        shards,
        dict(info or {}, num_clusters=num_clusters, images_fingerprint=fingerprints),
    )
    manifest.write(directory)
    return manifest


def read_pseudo_labels(
    directory: str | os.PathLike, split: str, images_fingerprint: str | None = None
) -> np.ndarray:
    """Returns the pseudo-label of every image of a split, by image index: [N] int32.

    Args:
      directory: path of what `ccssl_tf.cluster` wrote.
      split: name of the split.
      images_fingerprint: `Manifest.fingerprint(split)` of the images they are to be used with;
        None: any, as when they are only looked at.

    Raises:
      InputError: no such split, or made from other images; both fingerprints are named.
      CorruptArtifactError: damaged records, a label outside [0, K), an index missing or there
        twice.

    >>> import tempfile
    >>> labels = PseudoLabels("1a2b", np.array([2, 0, 1]), np.array([7, 5, 6]), np.zeros(3))
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     manifest = write_pseudo_labels(directory, {"train": labels}, num_clusters=8)
    ...     print(read_pseudo_labels(directory, "train", "1a2b"))
    [5 6 7]
    """
    directory = pathlib.Path(directory)
    manifest = manifest_lib.Manifest.read(directory, "pseudo_labels")
    shards = manifest.shards(split)
    made_from = manifest.info["images_fingerprint"][split]
    if images_fingerprint not in (None, made_from):
        raise InputError(
            f"{directory}: the pseudo-labels of split {split} were made from images with "
            f"fingerprint {made_from}, these have {images_fingerprint}; extract and cluster these "
            "images"
        )
    indices, labels = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for shard in shards:
        dataset = (
            serialized_records(directory / shard.name)
            .batch(4096)
            .map(records.parse_pseudo_label)
            .prefetch(2)
        )
        count = 0
        try:
            for batch in dataset.as_numpy_iterator():
                indices.append(batch["index"])
                labels.append(batch["label"])
                count += len(batch["index"])
        except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
            raise CorruptArtifactError(
                f"{directory / shard.name}: damaged after record {count}; cluster again"
            ) from error
        if count != shard.num_examples:
            raise CorruptArtifactError(
                f"{directory / shard.name}: {count} records instead of {shard.num_examples}; "
                "cluster again"
            )
    index, label = np.concatenate(indices), np.concatenate(labels)
    fault = _fault(index, label, manifest.info["num_clusters"])
    if fault:
        raise CorruptArtifactError(
            f"{directory}: pseudo-labels of split {split}: {fault}; cluster again"
        )
    by_index = np.empty(len(index), np.int32)
    by_index[index] = label
    return by_index


def _fault(index: np.ndarray, labels: np.ndarray, num_clusters: int) -> str | None:
    """Returns what is wrong with the labels of a split; None: nothing."""
    counts = np.bincount(index[(index >= 0) & (index < len(index))], minlength=len(index))
    if len(labels) != len(index):
        return f"{len(labels)} labels for {len(index)} images"
    if np.any(counts != 1):
        wrong = int(np.flatnonzero(counts != 1)[0])
        return (
            f"image index {wrong} is there {counts[wrong]} times instead of once (of {len(index)})"
        )
    outside = (labels < 0) | (labels >= num_clusters)
    if np.any(outside):
        wrong = int(np.argmax(outside))
        return f"image {index[wrong]} has label {labels[wrong]}, outside of {num_clusters} clusters"
    return None


def _write_split(
    directory: pathlib.Path, split: str, labels: PseudoLabels
) -> list[manifest_lib.Shard]:
    filenames = labels.filenames or [b""] * len(labels.index)
    total = max(1, -(-len(labels.index) // _SHARD_ROWS))
    shards = []
    for number in range(total):
        rows = range(number * _SHARD_ROWS, min((number + 1) * _SHARD_ROWS, len(labels.index)))
        examples = (
            records.pseudo_label_example(
                int(labels.index[row]),
                filenames[row],
                int(labels.labels[row]),
                float(labels.distances[row]),
            )
            for row in rows
        )
        shards.append(
            records.write_shard(directory / manifest_lib.shard_name(split, number, total), examples)
        )
    return shards

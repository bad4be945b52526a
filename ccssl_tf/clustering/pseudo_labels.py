"""(c) Pseudo-labels as records: written with file name and distances, read by image index."""

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
      nearest: [N, n] int32, the n nearest clusters of every image, its label first; None where they
        were not kept.
      nearest_distances: [N, n] float32, to their centroids.

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
    nearest: np.ndarray | None = None
    nearest_distances: np.ndarray | None = None


def margins(nearest_distances: np.ndarray) -> np.ndarray:
    """Returns how much further the second nearest centroid is than the nearest, [N]; NaN where
    there is one.

    Args:
      nearest_distances: [N, n] float, ascending.
    """
    if nearest_distances.shape[1] < 2:
        return np.full(len(nearest_distances), np.nan, nearest_distances.dtype)
    return nearest_distances[:, 1] - nearest_distances[:, 0]


def write_pseudo_labels(
    directory: str | os.PathLike,
    splits: dict[str, PseudoLabels],
    *,
    num_clusters: int,
    info: dict[str, Any] | None = None,
) -> manifest_lib.Manifest:
    """Writes records and, last, the manifest.

    Args:
      directory: path of a directory, made if absent.
      splits: split name -> its pseudo-labels.
      num_clusters: K.
      info: more facts for the manifest.

    Returns:
      The manifest.

    Raises:
      InputError: a label outside [0, K), an image index missing or there twice, or nearest clusters
        that do not begin with the label or are not as many in every split.

    >>> import tempfile
    >>> labels = PseudoLabels("1a2b", np.arange(3), np.array([1, 0, 1]), np.zeros(3))
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     write_pseudo_labels(directory, {"train": labels}, num_clusters=2).num_examples("train")
    3
    """
    directory = pathlib.Path(directory)
    for split, labels in splits.items():
        fault = _fault(labels, num_clusters)
        if fault:
            raise InputError(f"pseudo-labels of split {split}: {fault}")
    widths = {
        0 if labels.nearest is None else labels.nearest.shape[1] for labels in splits.values()
    }
    if len(widths) > 1:
        raise InputError(
            f"pseudo-labels: splits with {sorted(widths)} nearest clusters; give as many"
        )
    directory.mkdir(parents=True, exist_ok=True)
    shards = {split: _write_split(directory, split, labels) for split, labels in splits.items()}
    fingerprints = {split: labels.images_fingerprint for split, labels in splits.items()}
    manifest = manifest_lib.Manifest(
        "pseudo_labels",
        shards,
        dict(
            info or {},
            num_clusters=num_clusters,
            images_fingerprint=fingerprints,
            num_nearest=max(widths, default=0),
        ),
    )
    manifest.write(directory)
    return manifest


def read_pseudo_labels(
    directory: str | os.PathLike, split: str, images_fingerprint: str | None = None
) -> np.ndarray:
    """Returns the pseudo-label of every image of a split, by image index: [N] int32.

    Args, Raises: see `read_split`.

    >>> import tempfile
    >>> labels = PseudoLabels("1a2b", np.array([2, 0, 1]), np.array([7, 5, 6]), np.zeros(3))
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     manifest = write_pseudo_labels(directory, {"train": labels}, num_clusters=8)
    ...     print(read_pseudo_labels(directory, "train", "1a2b"))
    [5 6 7]
    """
    return read_split(directory, split, images_fingerprint).labels


def read_split(
    directory: str | os.PathLike, split: str, images_fingerprint: str | None = None
) -> PseudoLabels:
    """Returns all that is recorded of a split but file names, in the order of the image indices.

    Args:
      directory: path of what `ccssl_tf.cluster` wrote.
      split: name of the split.
      images_fingerprint: `Manifest.fingerprint(split)` of the images they are to be used with;
        None: any, as when they are only looked at.

    Raises:
      InputError: no such split, or made from other images; both fingerprints are named.
      CorruptArtifactError: damaged records, a label outside [0, K), an index missing or there
        twice, or nearest clusters that do not begin with the label.
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
    num_nearest = manifest.info.get("num_nearest", 0)
    batches: list[dict[str, np.ndarray]] = []
    for shard in shards:
        dataset = (
            serialized_records(directory / shard.name)
            .batch(4096)
            .map(lambda serialized: _parsed(serialized, num_nearest))
            .prefetch(2)
        )
        count = 0
        try:
            for batch in dataset.as_numpy_iterator():
                batches.append(batch)
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
    if not batches:
        raise CorruptArtifactError(f"{directory}: split {split} is empty; cluster again")
    joined: dict[str, Any] = {
        name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]
    }
    labels = PseudoLabels(made_from, **joined)
    fault = _fault(labels, manifest.info["num_clusters"])
    if fault:
        raise CorruptArtifactError(
            f"{directory}: pseudo-labels of split {split}: {fault}; cluster again"
        )
    order = np.argsort(labels.index)
    ordered: dict[str, Any] = {name: values[order] for name, values in joined.items()}
    return PseudoLabels(made_from, **ordered)


def _parsed(serialized: tf.Tensor, num_nearest: int) -> dict[str, tf.Tensor]:
    """Parses a batch of records into fields of `PseudoLabels`."""
    parsed = records.parse_pseudo_label(serialized, num_nearest)
    fields = dict(
        index=parsed["index"],
        labels=tf.cast(parsed["label"], tf.int32),
        distances=parsed["distance"],
    )
    if num_nearest:
        fields["nearest"] = tf.cast(parsed["nearest"], tf.int32)
        fields["nearest_distances"] = parsed["nearest_distances"]
    return fields


def _fault(of_split: PseudoLabels, num_clusters: int) -> str | None:
    """Returns what is wrong with the labels of a split; None: nothing."""
    index, labels, nearest = of_split.index, of_split.labels, of_split.nearest
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
    if nearest is not None:
        if np.any((nearest < 0) | (nearest >= num_clusters)):
            return f"a nearest cluster is outside of {num_clusters} clusters"
        if np.any(nearest[:, 0] != labels):
            return "the nearest cluster of an image is not its label"
    return None


def _write_split(
    directory: pathlib.Path, split: str, labels: PseudoLabels
) -> list[manifest_lib.Shard]:
    filenames = labels.filenames or [b""] * len(labels.index)
    nearest, lengths = labels.nearest, labels.nearest_distances
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
                None if nearest is None else nearest[row],
                None if lengths is None else lengths[row],
            )
            for row in rows
        )
        shards.append(
            records.write_shard(directory / manifest_lib.shard_name(split, number, total), examples)
        )
    return shards

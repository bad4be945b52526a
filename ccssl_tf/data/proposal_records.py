"""Object proposals as records beside the images they were made from: boxes as the devkit's 1-based
pixels, last one included.
"""

import pathlib

import numpy as np
import tensorflow as tf

from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.data import records
from ccssl_tf.data.datasets import serialized_records
from ccssl_tf.runs.errors import CorruptArtifactError, InputError

KIND = "proposals"


def proposal_example(index: int, filename: bytes, boxes: np.ndarray) -> bytes:
    """Returns one image's serialised proposals: its index and name, and boxes [R, 4] integers xmin,
    ymin, xmax, ymax, the best first.
    """
    features = {
        "index": tf.train.Feature(int64_list=tf.train.Int64List(value=[index])),
        "image/filename": tf.train.Feature(bytes_list=tf.train.BytesList(value=[filename])),
        "boxes": tf.train.Feature(int64_list=tf.train.Int64List(value=np.ravel(boxes))),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(
        deterministic=True
    )


def parse_proposals(serialized) -> dict[str, tf.Tensor]:
    """Parses one record, in a graph: `index` int64, `filename` bytes, `boxes` [R, 4] int64."""
    parsed = tf.io.parse_single_example(
        serialized,
        {
            "index": tf.io.FixedLenFeature([], tf.int64),
            "image/filename": tf.io.FixedLenFeature([], tf.string),
            "boxes": tf.io.FixedLenSequenceFeature([4], tf.int64, allow_missing=True),
        },
    )
    return dict(index=parsed["index"], filename=parsed["image/filename"], boxes=parsed["boxes"])


def read_proposals(
    directory, split: str, images_fingerprint: str | None = None
) -> list[np.ndarray]:
    """Returns the proposals of every image of a split, by image index: N arrays [R, 4] int32 (32 kB
    an image of 2000 boxes).

    Args:
      directory: what `data_prep.proposals` wrote.
      split: split name.
      images_fingerprint: `Manifest.fingerprint(split)` of the images they are to be used with;
        None: any, as when they are only looked at.

    Raises:
      InputError: no such split, or made from other images; both fingerprints are named.
      CorruptArtifactError: damaged records, or an index missing or there twice.

    >>> example = proposal_example(0, b"1.jpg", np.array([[8, 11, 351, 497]]))
    >>> shard = records.write_shard(pathlib.Path(workdir, "test-0.tfrecord"), [example])
    >>> info = dict(images_fingerprint=dict(test="1a2b"))
    >>> manifest_lib.Manifest(KIND, {"test": [shard]}, info).write(workdir)
    >>> read_proposals(workdir, "test")
    [array([[  8,  11, 351, 497]], dtype=int32)]
    """
    directory = pathlib.Path(directory)
    manifest = manifest_lib.Manifest.read(directory, KIND)
    if split not in manifest.splits:
        there = ", ".join(sorted(manifest.splits))
        raise InputError(
            f"{directory}: no proposals of split {split}, there are those of {there}; make them "
            "with data_prep.proposals"
        )
    paths = [directory / shard.name for shard in manifest.shards(split)]
    made_from = manifest.info["images_fingerprint"][split]
    if images_fingerprint not in (None, made_from):
        raise InputError(
            f"{directory}: proposals of other images (fingerprint {made_from[:12]}, these images "
            f"have {images_fingerprint[:12]}); "
            "make them again with data_prep.proposals"
        )
    boxes: dict[int, np.ndarray] = {}
    count = manifest.num_examples(split)
    with records.naming_damage(directory, parse_proposals):
        for parsed in serialized_records(paths).map(parse_proposals).as_numpy_iterator():
            index = int(parsed["index"])
            if not 0 <= index < count or index in boxes:
                raise CorruptArtifactError(
                    f"{directory}: image {index} of {split} is there twice or outside the split; "
                    "make them again"
                )
            boxes[index] = parsed["boxes"].astype(np.int32)
    if len(boxes) != count:
        raise CorruptArtifactError(
            f"{directory}: proposals of {split} are missing; make them again"
        )
    return [boxes[index] for index in range(count)]

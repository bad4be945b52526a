"""What Fast R-CNN knows of the images of a split before it sees them: objects and proposals,
checked, in memory.

A box takes 16 bytes, so the 2,000 proposals of each of VOC's 5,011 training images take 160 MB.
"""

import dataclasses
import pathlib

import numpy as np
import tensorflow as tf

from ccssl_tf.data import proposal_records, records, voc_records
from ccssl_tf.data.datasets import serialized_records
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.ops import boxes as box_ops
from ccssl_tf.runs.errors import InputError


@dataclasses.dataclass(frozen=True)
class DetectionImages:
    """The images of a split, by index. Boxes are xmin, ymin, xmax, ymax in pixels counted from 0,
    the last one included.

    Attributes:
      names: [N] file names without directory and suffix: 000005 for VOC's.
      sizes: [N, 2] int32, height and width.
      truths: N arrays [G, 4] int32.
      labels: N arrays [G] int32 in [0, C).
      difficult: N arrays [G] bool.
      proposals: N arrays [R, 4] int32.
    """

    names: list
    sizes: np.ndarray
    truths: list
    labels: list
    difficult: list
    proposals: list

    def __len__(self):
        return len(self.names)


def read_detection_images(data_dir, split: str, proposals_dir) -> DetectionImages:
    """Reads and checks the objects of a split and their proposals.

    Raises:
      InputError: no such split, no boxes in it, boxes that are inverted or outside of their image,
        or classes without a name; the message names the image.
    """
    data_dir = pathlib.Path(data_dir)
    manifest = Manifest.read(data_dir, "images")
    if split not in manifest.splits:
        raise InputError(
            f"{data_dir}: no split {split}, there are {', '.join(sorted(manifest.splits))}; "
            "convert with data_prep.voc"
        )
    class_names = manifest.info.get("class_names") or []
    count = manifest.num_examples(split)
    images = DetectionImages(
        [None] * count, np.zeros([count, 2], np.int32), *([None] * count for _ in range(4))
    )
    paths = [data_dir / shard.name for shard in manifest.shards(split)]
    with records.naming_damage(data_dir):
        for parsed in serialized_records(paths).map(_facts).as_numpy_iterator():
            index = int(parsed["index"])
            images.names[index] = pathlib.PurePosixPath(
                parsed["filename"].decode(errors="replace")
            ).stem
            images.sizes[index] = parsed["size"]
            images.truths[index], images.labels[index], images.difficult[index] = (
                parsed["boxes"],
                parsed["labels"],
                parsed["difficult"],
            )
            _check_boxes(
                f"{data_dir}: {images.names[index]} of {split}",
                "object",
                parsed["boxes"],
                parsed["size"],
            )
            unnamed = parsed["labels"][
                (parsed["labels"] < 0) | (parsed["labels"] >= len(class_names))
            ]
            if len(unnamed):
                image = f"{data_dir}: {images.names[index]} of {split}"
                raise InputError(
                    f"{image}: class {unnamed[0]}, and there are {len(class_names)} names; convert "
                    "it again"
                )
    if not sum(map(len, images.truths)):
        raise InputError(
            f"{data_dir}: the images of split {split} have no boxes; convert with data_prep.voc "
            "--task=detection"
        )
    without = []
    for index, boxes in enumerate(
        proposal_records.read_proposals(proposals_dir, split, manifest.fingerprint(split))
    ):
        image = f"{proposals_dir}: {images.names[index]} of {split}"
        if not len(boxes):
            without.append(images.names[index])
            height, width = images.sizes[index]
            boxes = np.array([[1, 1, width, height]], np.int32)
        images.proposals[index] = boxes - 1
        _check_boxes(image, "proposal", images.proposals[index], images.sizes[index])
    if without:
        print(
            f"warning: {proposals_dir}: {len(without)} images of {split} have no proposals (first: "
            f"{without[0]}); the whole image is theirs",
            flush=True,
        )
    return images


def _facts(serialized):
    parsed = voc_records.parse_voc_image(serialized)
    boxes = voc_records.pixel_boxes(parsed["boxes"], parsed["height"], parsed["width"])
    return dict(
        index=parsed["index"],
        filename=parsed["filename"],
        size=tf.cast(tf.stack([parsed["height"], parsed["width"]]), tf.int32),
        boxes=tf.cast(boxes, tf.int32) - 1,
        labels=tf.cast(parsed["labels"], tf.int32),
        difficult=parsed["difficult"],
    )


def _check_boxes(image, kind, boxes, size):
    """Raises InputError naming the image and the first box that is no box of it."""
    bad = (
        (boxes < 0).any(1)
        | (boxes[:, 2:] < boxes[:, :2]).any(1)
        | (boxes[:, 2:] >= size[::-1]).any(1)
    )
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        place = " ".join(str(value + 1) for value in boxes[row])
        fault = (
            "is inverted"
            if (boxes[row, 2:] < boxes[row, :2]).any()
            else f"lies outside of the {size[1]} x {size[0]} pixels"
        )
        raise InputError(
            f"{image}: {kind} {row} (xmin ymin xmax ymax {place}, from 1) {fault}; correct it and "
            "convert again"
        )


def code_statistics(
    images: DetectionImages, num_classes: int, threshold: float, mirrored: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and standard deviation of the codes of each class, [C, 4] each, over all regions
    that are foreground.

    Regions are the objects themselves and the proposals that overlap one by at least `threshold`.
    Classes of few regions, or whose codes hardly differ, get a deviation of at least 0.01; those of
    none 0 and 1.

    Args:
      images: of training.
      num_classes: C.
      threshold: intersection over union.
      mirrored: whether the mirrored images count, too: then dx is 0 on average.
    """
    counts, sums, squares = (
        np.zeros([num_classes, 1]),
        np.zeros([num_classes, 4]),
        np.zeros([num_classes, 4]),
    )
    signature = [tf.TensorSpec([None, 4], tf.int32), tf.TensorSpec([None, 4], tf.int32)]

    @tf.function(input_signature=signature, autograph=False)
    def codes_of(regions, truths):
        overlaps = box_ops.intersection_over_union(regions, truths)
        best = tf.argmax(overlaps, 1)
        return (
            box_ops.encode(regions, tf.gather(truths, best)),
            best,
            tf.reduce_max(overlaps, 1) >= threshold,
        )

    for truths, labels, proposals in zip(
        images.truths, images.labels, images.proposals, strict=True
    ):
        if not len(truths):
            continue
        codes, best, is_foreground = (
            value.numpy() for value in codes_of(np.concatenate([truths, proposals]), truths)
        )
        codes, classes = codes[is_foreground].astype(np.float64), labels[best[is_foreground]]
        np.add.at(counts, classes, 1)
        np.add.at(sums, classes, codes)
        np.add.at(squares, classes, codes**2)
    if mirrored:
        sums[:, 0] = 0
    means = sums / np.maximum(counts, 1)
    deviations = np.sqrt(np.maximum(squares / np.maximum(counts, 1) - means**2, 0))
    return means, np.where(counts > 0, np.maximum(deviations, 0.01), 1.0)

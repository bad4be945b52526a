"""From the outputs of a detector to detections, files in the devkit's format and average
precision.
"""

import dataclasses
import pathlib

import numpy as np

from ccssl_tf.metrics import detection_average_precision
from ccssl_tf.ops import boxes as box_ops
from ccssl_tf.runs.files import write_bytes

SUPPRESSION_OVERLAP = 0.3
MAX_OF_A_CLASS = 100
# Detections of a class before suppression, times the number of images: the rest is let go.
_MAX_PER_IMAGE = 40


@dataclasses.dataclass
class Detections:
    """Detections of any number of images.

    Attributes:
      images: [M] int32, index of the image.
      classes: [M] int32 in [0, C).
      scores: [M] float32.
      boxes: [M, 4] float32, from 0, to a tenth of a pixel.
    """

    images: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray

    @classmethod
    def joined(cls, parts: list["Detections"]) -> "Detections":
        """Returns the detections of all parts, in order."""
        names = [field.name for field in dataclasses.fields(cls)]
        empty = cls(
            np.zeros(0, np.int32),
            np.zeros(0, np.int32),
            np.zeros(0, np.float32),
            np.zeros([0, 4], np.float32),
        )
        return cls(
            *(np.concatenate([getattr(part, name) for part in [empty, *parts]]) for name in names)
        )

    def of(self, chosen) -> "Detections":
        """Returns those at `chosen`, a mask or indices."""
        return Detections(
            *(getattr(self, field.name)[chosen] for field in dataclasses.fields(self))
        )


def detections_of_image(index: int, scores, boxes) -> tuple[Detections, np.ndarray]:
    """Returns the detections of one image after suppression, and the scores of the candidates
    before it.

    Candidates are the 100 surest regions of each class.

    Args:
      index: of the image.
      scores: [R, C] float32.
      boxes: [R, C, 4] float32.

    Returns:
      (detections, [C, min(R, 100)] float32, the surest first).
    """
    order = np.argsort(-scores, axis=0, kind="stable")[:MAX_OF_A_CLASS]
    parts = []
    for number in range(scores.shape[1]):
        rows = order[:, number]
        candidates = np.round(boxes[rows, number], 1)
        kept = box_ops.non_maximum_suppression(
            candidates, scores[rows, number], MAX_OF_A_CLASS, SUPPRESSION_OVERLAP
        ).numpy()
        count = len(kept)
        part = Detections(
            np.full(count, index, np.int32),
            np.full(count, number, np.int32),
            scores[rows, number][kept],
            candidates[kept],
        )
        parts.append(part)
    return Detections.joined(parts), np.take_along_axis(scores, order, 0).T


def most_confident(
    detections: Detections, candidate_scores: np.ndarray, num_images: int
) -> Detections:
    """Leaves out what is not among the 40 candidates of a class per image, on average, that are
    surest (Fast R-CNN's test.py).

    Args:
      detections: of all images.
      candidate_scores: [C, n], of all images' candidates.
      num_images: N.
    """
    count = _MAX_PER_IMAGE * num_images
    if candidate_scores.shape[1] <= count:
        return detections
    threshold = -np.partition(-candidate_scores, count - 1, axis=1)[:, count - 1]
    return detections.of(detections.scores > threshold[detections.classes])


def write_devkit_files(
    directory, detections: Detections, image_names: list[str], class_names: list[str], split: str
):
    """Writes `comp3_det_<split>_<class>.txt`: image, score and box (from 1) of each detection, a
    line each.
    """
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(class_names):
        of_class = detections.of(detections.classes == number)
        rows = zip(of_class.images, of_class.scores, of_class.boxes + 1, strict=True)
        lines = [
            f"{image_names[image]} {score:.9g} {' '.join(f'{side:.1f}' for side in box)}\n"
            for image, score, box in rows
        ]
        write_bytes(directory / f"comp3_det_{split}_{name}.txt", "".join(lines).encode())


def average_precisions(
    detections: Detections, images, num_classes: int, interpolation: str
) -> dict[int, float]:
    """Returns the average precision of every class that has an object that is not difficult.

    Args:
      detections: of all images.
      images: `DetectionImages`.
      num_classes: C.
      interpolation: "11point" or "voc2010".
    """
    counts = [len(labels) for labels in images.labels]
    owners, labels = np.repeat(np.arange(len(counts)), counts), np.concatenate(images.labels)
    truths, difficult = np.concatenate(images.truths), np.concatenate(images.difficult)
    precisions = {}
    for number in range(num_classes):
        of_class, objects = detections.of(detections.classes == number), labels == number
        if not (objects & ~difficult).any():
            continue
        truth = owners[objects], truths[objects], difficult[objects]
        # As a reader of the files finds the boxes.
        boxes = np.round(of_class.boxes.astype(np.float64), 1)
        precisions[number] = detection_average_precision(
            of_class.images, of_class.scores, boxes, *truth, interpolation=interpolation
        )
    return precisions

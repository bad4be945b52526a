"""What a detector finds in the photos of a split, and how good it is."""

import numpy as np
import tensorflow as tf

from ccssl_tf import distribution
from ccssl_tf.data import image_ops, pipeline
from ccssl_tf.downstream import detections as detections_lib
from ccssl_tf.downstream.detection_images import DetectionImages
from ccssl_tf.downstream.detections import Detections
from ccssl_tf.downstream.detector import Detector
from ccssl_tf.runs.progress import Progress

# How the area under precision and recall is computed -> what the number's name ends with.
_DEFINITIONS = {"11point": "", "voc2010": "_area"}


def whole_photos(data_dir, split: str) -> tf.data.Dataset:
    """Returns batches of one `image` [1, h, w, 3] uint8 with its `index`, in the order of the
    files.
    """

    def load(parsed):
        return dict(image=image_ops.decoded(parsed["encoded"]))

    return pipeline.evaluation_batches(data_dir, split, batch_size=1, load=load)


def detections_in(
    photos, detector: Detector, images: DetectionImages, scales, max_side: float, after=None
) -> tuple[Detections, list[np.ndarray]]:
    """Returns the detections in some photos after suppression, and of each photo the scores of the
    candidates before it, [C, n] float32.

    Args:
      photos: of `whole_photos`.
      detector: of some model.
      images: of the split, with the proposals.
      scales, max_side: see `Detector`.
      after: called with the number of photos done, after each.
    """
    parts, candidates = [], []
    for done, batch in enumerate(photos, 1):
        index = int(batch["index"][0])
        proposals = images.proposals[index]
        scores, boxes = detector(batch["image"][0].numpy(), proposals, scales, max_side)
        part, scores_before = detections_lib.detections_of_image(index, scores, boxes)
        parts.append(part)
        candidates.append(scores_before)
        if after:
            after(done)
    return Detections.joined(parts), candidates


def detections_of_split(
    data_dir, split: str, detector: Detector, images: DetectionImages, num_classes, scales, max_side
) -> Detections:
    """Returns the detections in all photos of a split, by image; the strategy's workers share the
    photos. Arguments are as of `detections_in`.
    """
    strategy = tf.distribute.get_strategy()
    worker, workers = distribution.worker(strategy)
    progress = Progress(f"detect at {','.join(map(str, scales))}", len(images), "images")
    detections, candidates = detections_in(
        whole_photos(data_dir, split).shard(workers, worker),
        detector,
        images,
        scales,
        max_side,
        lambda done: progress.update(min(done * workers, len(images))),
    )
    columns = [detections.images, detections.classes, detections.scores, detections.boxes]
    detections = Detections(
        *(distribution.concatenate_over_workers(column, strategy) for column in columns)
    )
    scores = np.concatenate([*candidates, np.zeros([num_classes, 0], np.float32)], axis=1)
    scores = distribution.concatenate_over_workers(scores.T, strategy).T
    detections = detections_lib.most_confident(detections, scores, len(images))
    return detections.of(np.argsort(detections.images, kind="stable"))


def precisions(
    detections: Detections, images: DetectionImages, class_names: list[str], suffix: str = ""
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Returns the mean average precision by both definitions, 0 where no class is shown, and the
    classes' own; the names of both end with `suffix`.
    """
    means, of_classes = {}, {}
    for interpolation, definition in _DEFINITIONS.items():
        of_numbers = detections_lib.average_precisions(
            detections, images, len(class_names), interpolation
        )
        name = f"average_precision{definition}{suffix}"
        means[f"mean_{name}"] = float(np.mean(list(of_numbers.values()))) if of_numbers else 0.0
        of_classes[name] = {class_names[number]: ap for number, ap in of_numbers.items()}
    return means, of_classes

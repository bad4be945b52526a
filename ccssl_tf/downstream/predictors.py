"""What trained runs answer about images in records: classes with probabilities, detections,
clusters. `ccssl_tf.predict` writes it.
"""

import abc
import os
import pathlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from ccssl_tf.clustering.fitted import FittedClusters
from ccssl_tf.data import image_ops, pipeline, proposal_records
from ccssl_tf.data.feature_directory import DirectorySource
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.downstream import detections as detections_lib
from ccssl_tf.downstream.detection_evaluation import whole_photos
from ccssl_tf.downstream.detector import Detector
from ccssl_tf.downstream.exported import Exported
from ccssl_tf.downstream.exported_detector import ExportedDetector
from ccssl_tf.downstream.finished_run import class_names_of, finished
from ccssl_tf.models import backbone_file, fast_rcnn, fcn
from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.run_record import read_flags, read_record

# Tasks whose classes do not exclude each other.
_YES_OR_NO = ("voc07_classification",)
_SPLIT = "train"


class Predictor(abc.ABC):
    """What a run answers.

    Attributes:
      columns: names of the answers' values, behind the file name.
      needs_features: whether `rows` takes a directory of features.
      needs_proposals: whether `rows` takes a directory of proposals.
    """

    columns: tuple[str, ...]
    needs_features = False
    needs_proposals = False

    @abc.abstractmethod
    def rows(self, data_dir, more_dir, top: int) -> Iterator[tuple[int, list]]:
        """Yields (image index, values) of the answers, by image.

        Args:
          data_dir: image shards, all of the split `train`.
          more_dir: directory of the images' features or proposals, where they are needed.
          top: number of answers of an image, at most.
        """


def predictor_of(run: str | os.PathLike, names: dict[int, str]) -> Predictor:
    """Returns what a finished run answers.

    Args:
      run: its directory, of `ccssl_tf.train` (a classifier or a detector) or `ccssl_tf.cluster`.
      names: cluster -> name; others are called by their numbers.

    Raises:
      InputError: no finished run, or one that answers nothing about images.
      CorruptArtifactError: its files are damaged.
    """
    run = finished(run)
    if (run / "centroids.npy").is_file():
        return ClusterPredictor(run, names)
    if (run / fast_rcnn.FILE_NAME).is_file():
        return DetectorPredictor(run)
    if (run / backbone_file.CLASSIFIER_FILE_NAME).is_file():
        return ClassifierPredictor(run, names)
    kind = "a segmenter" if (run / fcn.FILE_NAME).is_file() else "no classifier"
    raise InputError(
        f"--run={run}: holds {kind}; name a run with a classifier, a detector or clusters"
    )


class ClassifierPredictor(Predictor):
    """The likeliest classes of the central crop, by softmax, or by sigmoids where classes do not
    exclude each other.
    """

    columns = ("rank", "label", "class", "probability")

    def __init__(self, run: pathlib.Path, names: dict[int, str], batch_size: int = 64):
        """Loads the classifier of a finished run."""
        self._exported, self._batch_size = Exported(run, fold=False), batch_size
        task = read_flags(run).get("task")
        self._is_yes_or_no = task in _YES_OR_NO
        self._names = dict(enumerate(class_names_of(run))) | names

    def rows(self, data_dir, more_dir, top):
        """See `Predictor`."""
        del more_dir
        exported = self._exported

        def load(parsed):
            return dict(image=image_ops.evaluation_crop(parsed["encoded"], exported.image_size))

        @tf.function(autograph=False)
        def probabilities(images):
            logits = exported.serve(images)["logits"]
            return tf.sigmoid(logits) if self._is_yes_or_no else tf.nn.softmax(logits)

        batches = pipeline.evaluation_batches(
            data_dir, _SPLIT, batch_size=self._batch_size, load=load
        )
        for batch in batches:
            likely = probabilities(batch["image"]).numpy()
            order = np.argsort(-likely, axis=1, kind="stable")[:, :top]
            counted = batch["weight"].numpy() > 0
            for index, each, labels in zip(
                batch["index"].numpy()[counted], likely[counted], order[counted], strict=True
            ):
                for rank, label in enumerate(labels.tolist(), 1):
                    name = self._names.get(label, str(label))
                    yield int(index), [rank, label, name, f"{each[label]:.6g}"]


class DetectorPredictor(Predictor):
    """Objects after suppression, the surest first; boxes in pixels from 1, the last included."""

    columns = ("class", "score", "xmin", "ymin", "xmax", "ymax")
    needs_proposals = True

    def __init__(self, run: pathlib.Path):
        """Loads the detector of a finished run."""
        self._exported = ExportedDetector(run)

    def rows(self, data_dir, more_dir, top):
        """See `Predictor`."""
        exported, detector = self._exported, Detector(self._exported.classifier)
        fingerprint = Manifest.read(data_dir, "images").fingerprint(_SPLIT)
        proposals = proposal_records.read_proposals(more_dir, _SPLIT, fingerprint)
        for batch in whole_photos(data_dir, _SPLIT):
            index = int(batch["index"][0])
            image, regions = batch["image"][0].numpy(), proposals[index] - 1
            scores, boxes = detector(image, regions, [exported.scale], float(exported.max_side))
            found, _ = detections_lib.detections_of_image(index, scores, boxes)
            for place in np.argsort(-found.scores, kind="stable")[:top]:
                corners = [f"{value + 1:.1f}" for value in found.boxes[place]]
                name = exported.class_names[found.classes[place]]
                yield index, [name, f"{found.scores[place]:.6g}", *corners]


class ClusterPredictor(Predictor):
    """The nearest centroid of an image's features."""

    columns = ("cluster", "name", "distance", "margin")
    needs_features = True

    def __init__(self, run: pathlib.Path, names: dict[int, str]):
        """Loads the clusters of a finished run."""
        self._clusters, self._names = FittedClusters(run), names
        if unknown := sorted(set(names) - set(range(len(self._clusters.centroids)))):
            raise InputError(
                f"--cluster_names: cluster {unknown[0]}, but there are "
                f"{len(self._clusters.centroids)} from 0"
            )

    def rows(self, data_dir, more_dir, top):
        """See `Predictor`."""
        del data_dir, top
        source = DirectorySource(more_dir)
        assigned = self._clusters.assign(source, tf.distribute.get_strategy())
        for row, index in enumerate(source.indices()):
            cluster, margin = int(assigned.labels[row]), assigned.margins[row]
            yield (
                int(index),
                [
                    cluster,
                    self._names.get(cluster, ""),
                    f"{assigned.distances[row]:.6g}",
                    "" if np.isnan(margin) else f"{margin:.6g}",
                ],
            )


def extraction_flags(run: str | os.PathLike) -> list[str]:
    """Returns the flags of `ccssl_tf.extract` that made the features a run of `ccssl_tf.cluster`
    clustered, but for images and outputs.

    Raises:
      InputError: the features' directory has gone, or they came from a file.
    """
    features = read_record(pathlib.Path(run) / "run.json")["inputs"]["features_dir"]["path"]
    flags = read_flags(features)
    if not flags:
        raise InputError(
            f"--run={run}: the features that it clustered are no longer in {features}; their "
            "flags.txt says how those of new photos are made"
        )
    if flags.get("features_file"):
        raise InputError(
            f"--run={run}: its features came from {flags['features_file']}; make those of the new "
            "photos where these were made, and run ccssl_tf.cluster --assign_dir"
        )
    left_out = ("data_dir", "split", "workdir", "dry_run", "strategy")
    return [f"--{name}={value}" for name, value in flags.items() if name not in left_out]

"""A detector as functions of a photo and regions of it that a SavedModel can hold."""

import keras
import numpy as np
import tensorflow as tf

from ccssl_tf.data import image_ops
from ccssl_tf.downstream.detector import scores_and_boxes
from ccssl_tf.downstream.exported import Exported, backbone_of, compare
from ccssl_tf.downstream.finished_run import finished
from ccssl_tf.models import backbone_file, fast_rcnn
from ccssl_tf.runs.json_files import read_json
from ccssl_tf.runs.run_record import read_flags


class ExportedDetector(Exported):
    """A detector as a function of one photo and regions of it; batch normalisation stays
    as it is.
    """

    what = "a detector"
    formats = ("saved_model",)

    def __init__(self, run):
        """Loads the detector of the finished run in directory `run`; raises CorruptArtifactError
        when it is damaged.
        """
        run = finished(run)
        self.classifier = backbone_file.load_model(run / fast_rcnn.FILE_NAME)
        self.backbone = backbone_of(self.classifier)
        self.classifier.backbone = self.backbone
        self.is_folded = False
        flags_of_run = read_flags(run)
        self.scale = int(flags_of_run.get("detection_test_scale", 600))
        self.max_side = int(flags_of_run.get("detection_test_max_side", 1000))
        form = dict(facts=dict(class_names=[str]))
        metrics = read_json(run / "metrics.json", form, remedy="train it again")
        self.class_names = metrics["facts"]["class_names"]

    def serve(self, image, boxes) -> dict:
        """Maps one photo and R boxes to scores and better boxes of every class, before suppression.

        Args:
          image: [H, W, 3] uint8 or float32; resized as the run's photos were tested.
          boxes: [R, 4] float32 xmin, ymin, xmax, ymax in pixels from 0, the last included.

        Returns:
          dict of scores [R, C] and boxes [R, C, 4] in pixels of the photo.
        """
        scores, moved = scores_and_boxes(
            self.classifier, image, boxes, self.scale, float(self.max_side)
        )
        return dict(scores=scores, boxes=moved)

    def serve_jpeg(self, encoded, boxes) -> dict:
        """Maps one photo's JPEG bytes, a scalar, and boxes to the outputs of `serve`."""
        return self.serve(image_ops.decoded(encoded), boxes)

    def save(self, path):
        """Writes the SavedModel to `path`, which must not exist."""
        archive, boxes = (
            keras.export.ExportArchive(),
            tf.TensorSpec([None, 4], tf.float32, name="boxes"),
        )
        archive.track(self.classifier)
        images = [
            tf.TensorSpec([None, None, 3], dtype, name="image") for dtype in (tf.float32, tf.uint8)
        ]
        encoded = tf.TensorSpec([], tf.string, name="encoded")
        for name, function, specs in (
            ("serve", self.serve, images),
            ("serve_jpeg", self.serve_jpeg, [encoded]),
        ):
            traced = tf.function(function, autograph=False)
            for spec in specs:
                traced.get_concrete_function(spec, boxes)
            archive.add_endpoint(name, traced)
        archive.write_out(str(path), verbose=False)

    def signatures(self) -> dict:
        """Returns what the SavedModel's signatures take and give: name -> input and outputs."""
        outputs, boxes = self.describe()["outputs"], dict(boxes=[None, 4])
        return dict(
            serve=dict(input=dict(image=[None, None, 3], **boxes), outputs=outputs),
            serve_jpeg=dict(input=dict(encoded=[], **boxes), outputs=outputs),
        )

    def verify(self, path) -> float:
        """Loads the SavedModel at `path` and compares it on random photos and boxes.

        Returns:
          The largest difference (see `compare`); raises CorruptArtifactError when it is too large.
        """
        differences = []
        loaded, random = tf.saved_model.load(str(path)), np.random.default_rng(0)
        for count, height, width in ((1, 90, 120), (7, 130, 100)):
            image = tf.constant(random.integers(0, 256, [height, width, 3], np.uint8))
            corners = np.sort(random.random([count, 2, 2]), axis=1) * [width - 1, height - 1]
            boxes = tf.constant(corners.reshape(count, 4), tf.float32)
            expected, encoded = self.serve(image, boxes), tf.io.encode_jpeg(image)
            for name, given, answers in (
                ("serve", image, expected),
                ("serve", tf.cast(image, tf.float32), expected),
                ("serve_jpeg", encoded, self.serve_jpeg(encoded, boxes)),
            ):
                what = f"{name} of {count} boxes in a {given.dtype.name} image"
                differences.append(compare(getattr(loaded, name)(given, boxes), answers, what))
        return max(differences)

    def describe(self) -> dict:
        """Returns what `export.json` says of the model."""
        count = len(self.class_names)
        return dict(
            outputs=dict(scores=[None, count], boxes=[None, count, 4]),
            input=dict(
                channels="RGB",
                range=[0, 255],
                dtypes=["float32", "uint8"],
                shape=[None, None, 3],
                short_side=self.scale,
                max_side=self.max_side,
                boxes="float32 [R, 4] xmin, ymin, xmax, ymax, pixels from 0, the last included",
            ),
            class_names=self.class_names,
            num_parameters=self.classifier.count_params(),
            batch_normalization_folded=False,
        )

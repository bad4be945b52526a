"""What a training run made, as functions of images in [0, 255] that a SavedModel can hold:
backbone, classifier, segmenter, detector.
"""

import json
import pathlib

import keras
import numpy as np
import tensorflow as tf

from ccssl_tf.data import image_ops
from ccssl_tf.downstream.detector import scores_and_boxes
from ccssl_tf.models import backbone_file, fast_rcnn, fcn
from ccssl_tf.models.backbone import Backbone
from ccssl_tf.models.folding import fold_batch_normalization
from ccssl_tf.models.heads import build_classifier, head_features
from ccssl_tf.runs import workdir as workdir_lib
from ccssl_tf.runs.errors import CorruptArtifactError, InputError

# Largest difference of an output, as a share of its largest value, between the network and what was
# exported.
_TOLERANCE = 1e-4


class Exported:
    """A backbone, with its classifier if it has one, as functions of images in [0, 255]."""

    def __init__(self, run, fold: bool = True):
        """Loads what the finished run in directory `run` trained.

        Args:
          run: workdir of a training.
          fold: merge batch normalisation, where there is any, into the kernels.

        Raises:
          InputError: not a finished run with a backbone.
          CorruptArtifactError: its files are damaged, or merging changes its outputs.
        """
        run = _finished(run)
        self.backbone, self.classifier = backbone_file.load_backbone(run), None
        if (run / backbone_file.CLASSIFIER_FILE_NAME).is_file():
            self.classifier = backbone_file.load_model(run / backbone_file.CLASSIFIER_FILE_NAME)
            self.backbone = next(
                layer for layer in self.classifier.layers if isinstance(layer, Backbone)
            )
        network = self.classifier or self.backbone
        self.side = network.input_shape[1]
        size = self.side or workdir_lib.read_flags(run).get("image_size")
        if size is None:
            raise InputError(
                f"{run / 'flags.txt'}: no --image_size in it; the run was not made by "
                "ccssl_tf.train"
            )
        self.image_size = int(size)
        self.is_folded = fold and self.backbone.get_config().get("normalization") == "batch_norm"
        if self.is_folded:
            self._fold()

    def _fold(self):
        images = np.random.default_rng(0).integers(
            0, 256, [2, self.image_size, self.image_size, 3], np.uint8
        )
        expected = self.serve(images)
        self.backbone = fold_batch_normalization(self.backbone)
        if self.classifier:
            logits = self.classifier.get_layer("logits")
            self.classifier = build_classifier(self.backbone, logits.units, self.side)
            self.classifier.get_layer("logits").set_weights(logits.get_weights())
        _compare(self.serve(images), expected, "merging batch normalisation")

    def endpoints(self, images) -> dict:
        """Maps images [B, H, W, 3] uint8 or float32 to every endpoint, without logits."""
        return dict(self.backbone(self.backbone.normalize(images), training=False))

    def serve(self, images) -> dict:
        """Maps images [B, H, W, 3] uint8 or float32 to every endpoint, and `logits` of a
        classifier.
        """
        outputs = self.endpoints(images)
        if self.classifier:
            outputs["logits"] = self.classifier.get_layer("logits")(
                head_features(self.backbone, outputs)
            )
        return outputs

    def serve_jpeg(self, encoded) -> dict:
        """Maps JPEG bytes [B] to the outputs of `serve` on their central crops."""

        def crop(one):
            return image_ops.evaluation_crop(one, self.image_size)

        spec = tf.TensorSpec([self.image_size, self.image_size, 3], tf.uint8)
        return self.serve(tf.map_fn(crop, encoded, fn_output_signature=spec))

    def save(self, path):
        """Writes the SavedModel to `path`, which must not exist."""
        archive = keras.export.ExportArchive()
        archive.track(self.classifier or self.backbone)
        archive.add_endpoint("serve", _traced(self.serve, self.side))
        if self.classifier and self.backbone.input_shape[1] is None:
            archive.add_endpoint("backbone", _traced(self.endpoints, None))
        serve_jpeg = tf.function(self.serve_jpeg, autograph=False)
        serve_jpeg.get_concrete_function(tf.TensorSpec([None], tf.string, name="encoded"))
        archive.add_endpoint("serve_jpeg", serve_jpeg)
        archive.write_out(str(path), verbose=False)

    def verify(self, path):
        """Loads the SavedModel at `path` and compares it on random images; raises
        CorruptArtifactError when it differs.
        """
        loaded, random = tf.saved_model.load(str(path)), np.random.default_rng(0)
        for batch_size in (1, 3):
            images = random.integers(
                0, 256, [batch_size, self.image_size, self.image_size, 3], np.uint8
            )
            expected = self.serve(images)
            _compare(
                loaded.serve(tf.constant(images)), expected, f"serve of {batch_size} uint8 images"
            )
            _compare(
                loaded.serve(tf.constant(images, tf.float32)),
                expected,
                f"serve of {batch_size} float32 images",
            )
            encoded = tf.stack([tf.io.encode_jpeg(image) for image in images])
            _compare(
                loaded.serve_jpeg(encoded),
                self.serve_jpeg(encoded),
                f"serve_jpeg of {batch_size} images",
            )
        if len(loaded.trainable_variables) != len(
            (self.classifier or self.backbone).trainable_variables
        ):
            raise CorruptArtifactError(
                f"{path}: the exported model has lost trainable variables; export again"
            )

    def describe(self) -> dict:
        """Returns what `export.json` says of the model."""
        images = tf.zeros([1, self.image_size, self.image_size, 3], tf.uint8)
        return dict(
            outputs={name: [None, *value.shape[1:]] for name, value in self.serve(images).items()},
            input=dict(
                channels="RGB",
                range=[0, 255],
                dtypes=["float32", "uint8"],
                shape=[None, self.side, self.side, 3],
                image_size=self.image_size,
            ),
            num_parameters=(self.classifier or self.backbone).count_params(),
            batch_normalization_folded=self.is_folded,
        )


class ExportedSegmenter(Exported):
    """A segmenter as functions of images in [0, 255]; batch normalisation stays as it is."""

    def __init__(self, run):
        """Loads the segmenter of the finished run in directory `run`; raises CorruptArtifactError
        when it is damaged.
        """
        run = _finished(run)
        self.classifier = backbone_file.load_model(run / fcn.FILE_NAME)
        self.backbone = next(
            layer for layer in self.classifier.layers if isinstance(layer, Backbone)
        )
        self.side, self.is_folded = None, False
        flags_of_run = workdir_lib.read_flags(run)
        self.long_side = int(flags_of_run.get("fcn_long_side", 0))
        # For checking alone.
        self.image_size = self.long_side or int(flags_of_run.get("image_size", 227))

    def serve(self, images) -> dict:
        """Maps images [B, H, W, 3] uint8 or float32 to `logits` [B, H, W, C] and `classes` [B, H,
        W] int32.
        """
        logits = self.classifier(self.backbone.normalize(images), training=False)["logits"]
        return dict(logits=logits, classes=tf.argmax(logits, -1, tf.int32))

    def serve_jpeg(self, encoded) -> dict:
        """Maps JPEG bytes [B], of images of one size, to the outputs of `serve`, at the size the
        network was trained at.
        """

        def decode(one):
            image = image_ops.decoded(one)
            return image_ops.resized_long_side(image, self.long_side) if self.long_side else image

        return self.serve(
            tf.map_fn(decode, encoded, fn_output_signature=tf.TensorSpec([None, None, 3], tf.uint8))
        )

    def describe(self) -> dict:
        """As of a backbone; sizes are free."""
        facts = super().describe()
        outputs = dict(
            logits=[None, None, None, facts["outputs"]["logits"][-1]], classes=[None, None, None]
        )
        return dict(
            facts,
            outputs=outputs,
            input=dict(facts["input"], image_size=None, long_side=self.long_side or None),
        )


class ExportedDetector(Exported):
    """A detector as a function of one photo and regions of it; batch normalisation stays
    as it is.
    """

    def __init__(self, run):
        """Loads the detector of the finished run in directory `run`; raises CorruptArtifactError
        when it is damaged.
        """
        run = _finished(run)
        self.classifier = backbone_file.load_model(run / fast_rcnn.FILE_NAME)
        self.backbone = next(
            layer for layer in self.classifier.layers if isinstance(layer, Backbone)
        )
        self.classifier.backbone = self.backbone
        self.is_folded = False
        flags_of_run = workdir_lib.read_flags(run)
        self.scale = int(flags_of_run.get("detection_test_scale", 600))
        self.most = int(flags_of_run.get("detection_test_max_side", 1000))
        try:
            self.class_names = list(
                json.loads((run / "metrics.json").read_text())["facts"]["class_names"]
            )
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise CorruptArtifactError(
                f"{run / 'metrics.json'}: does not name the classes ({error!r}); train it again"
            ) from error

    def serve(self, image, boxes) -> dict:
        """Maps one photo and R boxes to scores and better boxes of every class, before suppression.

        Args:
          image: [H, W, 3] uint8 or float32; resized as the run's photos were tested.
          boxes: [R, 4] float32 xmin, ymin, xmax, ymax in pixels from 0, the last included.

        Returns:
          dict of scores [R, C] and boxes [R, C, 4] in pixels of the photo.
        """
        scores, found = scores_and_boxes(
            self.classifier, image, boxes, self.scale, float(self.most)
        )
        return dict(scores=scores, boxes=found)

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

    def verify(self, path):
        """Loads the SavedModel at `path` and compares it on random photos and boxes; raises
        CorruptArtifactError when it differs.
        """
        loaded, random = tf.saved_model.load(str(path)), np.random.default_rng(0)
        for count, height, width in ((1, 90, 120), (7, 130, 100)):
            image = tf.constant(random.integers(0, 256, [height, width, 3], np.uint8))
            corners = np.sort(random.random([count, 2, 2]), axis=1) * [width - 1, height - 1]
            boxes = tf.constant(corners.reshape(count, 4), tf.float32)
            expected, encoded = self.serve(image, boxes), tf.io.encode_jpeg(image)
            _compare(
                loaded.serve(image, boxes), expected, f"serve of {count} boxes in a uint8 image"
            )
            _compare(
                loaded.serve(tf.cast(image, tf.float32), boxes),
                expected,
                f"serve of {count} boxes in a float32 image",
            )
            _compare(
                loaded.serve_jpeg(encoded, boxes),
                self.serve_jpeg(encoded, boxes),
                f"serve_jpeg of {count} boxes",
            )

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
                max_side=self.most,
                boxes="float32 [R, 4] xmin, ymin, xmax, ymax, pixels from 0, the last included",
            ),
            class_names=self.class_names,
            num_parameters=self.classifier.count_params(),
            batch_normalization_folded=False,
        )


def load_run(run, fold: bool = True) -> Exported:
    """Returns what the finished run in directory `run` trained; see `Exported`.

    Raises:
      InputError: not a finished run with a backbone.
    """
    for name, exported in (
        (fcn.FILE_NAME, ExportedSegmenter),
        (fast_rcnn.FILE_NAME, ExportedDetector),
    ):
        if (pathlib.Path(run) / name).is_file():
            return exported(run)
    return Exported(run, fold)


def _finished(run):
    run = pathlib.Path(run)
    if not (run / "DONE").is_file():
        raise InputError(
            f"--run={run}: no finished run there; name the --workdir of a ccssl_tf.train that has "
            "ended"
        )
    return run


def _traced(function, side):
    """Returns a tf.function of `images`, traced for float32 (the signature) and uint8."""
    traced = tf.function(function, autograph=False)
    for dtype in (tf.float32, tf.uint8):
        traced.get_concrete_function(tf.TensorSpec([None, side, side, 3], dtype, name="images"))
    return traced


def _compare(found, expected, what):
    for name, value in expected.items():
        if value.dtype.is_integer:
            # Classes, which follow from scores that are compared.
            continue
        scale = max(float(tf.reduce_max(tf.abs(value))), 1e-6)
        difference = float(tf.reduce_max(tf.abs(found[name] - value))) / scale
        if not difference <= _TOLERANCE:
            raise CorruptArtifactError(
                f"{what}: the exported {name} differs from the network's by {difference:.2g}; "
                "export again"
            )

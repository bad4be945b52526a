"""A trained backbone or classifier as functions of images that a SavedModel can hold."""

import json
import pathlib

import keras
import numpy as np
import tensorflow as tf

from ccssl_tf.data import image_ops
from ccssl_tf.models import backbone_file
from ccssl_tf.models.backbone import Backbone
from ccssl_tf.models.folding import fold_batch_normalization
from ccssl_tf.models.heads import build_classifier, head_features
from ccssl_tf.runs.errors import CorruptArtifactError, InputError
from ccssl_tf.runs.run_record import read_flags

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
        run = finished(run)
        self.backbone, self.classifier = backbone_file.load_backbone(run), None
        if (run / backbone_file.CLASSIFIER_FILE_NAME).is_file():
            self.classifier = backbone_file.load_model(run / backbone_file.CLASSIFIER_FILE_NAME)
            self.backbone = backbone_of(self.classifier)
        network = self.classifier or self.backbone
        self.side = network.input_shape[1]
        size = self.side or read_flags(run).get("image_size")
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
        compare(self.serve(images), expected, "merging batch normalisation")

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
        archive.add_endpoint("serve", traced(self.serve, self.side))
        if self.classifier and self.backbone.input_shape[1] is None:
            archive.add_endpoint("backbone", traced(self.endpoints, None))
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
            compare(
                loaded.serve(tf.constant(images)), expected, f"serve of {batch_size} uint8 images"
            )
            compare(
                loaded.serve(tf.constant(images, tf.float32)),
                expected,
                f"serve of {batch_size} float32 images",
            )
            encoded = tf.stack([tf.io.encode_jpeg(image) for image in images])
            compare(
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


def finished(run) -> pathlib.Path:
    """Returns the directory of a run; raises InputError where it has not ended."""
    run = pathlib.Path(run)
    if not (run / "DONE").is_file():
        raise InputError(
            f"--run={run}: no finished run there; name the --workdir of a ccssl_tf.train that has "
            "ended"
        )
    return run


def class_names_of(run) -> list[str]:
    """Returns the names of the classes that a run learned, as its metrics.json says; [] where it
    says none.
    """
    try:
        facts = json.loads((pathlib.Path(run) / "metrics.json").read_text())["facts"]
        return [str(name) for name in facts["class_names"]]
    except (OSError, ValueError, LookupError, TypeError):
        return []


def backbone_of(model: keras.Model) -> Backbone:
    """Returns the backbone a trained model holds."""
    return next(layer for layer in model.layers if isinstance(layer, Backbone))


def traced(function, side):
    """Returns a tf.function of `images`, traced for float32 (the signature) and uint8."""
    compiled = tf.function(function, autograph=False)
    for dtype in (tf.float32, tf.uint8):
        compiled.get_concrete_function(tf.TensorSpec([None, side, side, 3], dtype, name="images"))
    return compiled


def compare(actual: dict, expected: dict, what: str):
    """Raises CorruptArtifactError where outputs, by name, differ from those expected."""
    for name, value in expected.items():
        if value.dtype.is_integer:
            # Classes, which follow from scores that are compared.
            continue
        scale = max(float(tf.reduce_max(tf.abs(value))), 1e-6)
        difference = float(tf.reduce_max(tf.abs(actual[name] - value))) / scale
        if not difference <= _TOLERANCE:
            raise CorruptArtifactError(
                f"{what}: the exported {name} differs from the network's by {difference:.2g}; "
                "export again"
            )

"""A trained backbone or classifier as functions of images that a SavedModel can hold."""

import keras
import numpy as np
import tensorflow as tf

from ccssl_tf.data import image_ops
from ccssl_tf.downstream.finished_run import finished
from ccssl_tf.models import backbone_file
from ccssl_tf.models.backbone import Backbone, fully_connected_layers
from ccssl_tf.models.folding import fold_batch_normalization
from ccssl_tf.models.heads import build_classifier, head_features
from ccssl_tf.runs.errors import CorruptArtifactError, InputError
from ccssl_tf.runs.run_record import read_flags

# Largest difference of an output, as a share of its largest value, between the network and what was
# exported.
TOLERANCE = 1e-4


class Exported:
    """A backbone, with its classifier if it has one, as functions of images in [0, 255].

    Attributes:
      what: a word for what the run trained.
      formats: names of the formats that can hold it.
      backbone: the network that was trained.
      classifier: the model on top of it; None for none.
      side: pixels a side of the images `serve` takes, None for any.
      image_size: pixels a side of the images the run had.
      is_folded: whether batch normalisation was merged into the kernels.
    """

    what = "a backbone or classifier"
    formats: tuple[str, ...] = (
        "saved_model",
        "litert",
        "onnx",
        "keras",
        "weights",
        "keras_hub",
        "npz",
    )

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

    @property
    def has_backbone_signature(self) -> bool:
        """Whether there are classes on a network that takes images of any size without them."""
        return self.classifier is not None and self.backbone.input_shape[1] is None

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

    def outputs(self, images) -> dict:
        """Maps images to the outputs of `serve` and `embedding`: those of files of one function."""
        outputs = self.serve(images)
        return dict(outputs, embedding=_mean_of_cells(outputs[self.last_map]))

    def embedding(self, images) -> dict:
        """Maps images [B, H, W, 3], of any size where the convolutions take it, to `embedding` [B,
        C], the mean over the cells of the last map.
        """
        # Without fully connected layers, which fix the size.
        convolutions = keras.Function(self.backbone.inputs[0], self.backbone.output[self.last_map])
        return dict(embedding=_mean_of_cells(convolutions(self.backbone.normalize(images))))

    @property
    def embedding_side(self) -> int | None:
        """Pixels a side of the images `embedding` takes, None for any."""
        return None if fully_connected_layers(self.backbone) else self.backbone.input_shape[1]

    @property
    def last_map(self) -> str:
        """Name of the last endpoint that is a map, not a vector."""
        shapes = {name: tensor.shape for name, tensor in self.backbone.output.items()}
        return [name for name in self.backbone.endpoint_names if len(shapes[name]) == 4][-1]

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
        if self.has_backbone_signature:
            archive.add_endpoint("backbone", traced(self.endpoints, None))
        archive.add_endpoint("embedding", traced(self.embedding, self.embedding_side))
        serve_jpeg = tf.function(self.serve_jpeg, autograph=False)
        serve_jpeg.get_concrete_function(tf.TensorSpec([None], tf.string, name="encoded"))
        archive.add_endpoint("serve_jpeg", serve_jpeg)
        archive.write_out(str(path), verbose=False)

    def signatures(self) -> dict:
        """Returns what the SavedModel's signatures take and give: name -> input and outputs."""
        facts = self.describe()
        side, outputs = self.side, facts["outputs"]
        told = dict(
            serve=dict(input=dict(images=[None, side, side, 3]), outputs=outputs),
            serve_jpeg=dict(input=dict(encoded=[None]), outputs=outputs),
        )
        if self.has_backbone_signature:
            maps = {name: shape for name, shape in outputs.items() if name != "logits"}
            told["backbone"] = dict(input=dict(images=[None, None, None, 3]), outputs=maps)
        channels = self.backbone.output[self.last_map].shape[-1]
        side = self.embedding_side
        told["embedding"] = dict(
            input=dict(images=[None, side, side, 3]), outputs=dict(embedding=[None, channels])
        )
        return told

    def verify(self, path) -> float:
        """Loads the SavedModel at `path` and compares it on random images.

        Returns:
          The largest difference (see `compare`); raises CorruptArtifactError when it is too large.
        """
        loaded, random = tf.saved_model.load(str(path)), np.random.default_rng(0)
        differences = []
        for batch_size in (1, 3):
            images = random.integers(
                0, 256, [batch_size, self.image_size, self.image_size, 3], np.uint8
            )
            answers, encoded = self.serve(images), [tf.io.encode_jpeg(one) for one in images]
            for name, given, expected in (
                ("serve", tf.constant(images), answers),
                ("serve", tf.constant(images, tf.float32), answers),
                ("embedding", tf.constant(images), self.embedding(images)),
                ("serve_jpeg", tf.stack(encoded), self.serve_jpeg(tf.stack(encoded))),
            ):
                what = f"{name} of {batch_size} {given.dtype.name} images"
                differences.append(compare(getattr(loaded, name)(given), expected, what))
        if len(loaded.trainable_variables) != len(
            (self.classifier or self.backbone).trainable_variables
        ):
            raise CorruptArtifactError(
                f"{path}: the exported model has lost trainable variables; export again"
            )
        return max(differences)

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


def backbone_of(model: keras.Model) -> Backbone:
    """Returns the backbone a trained model holds."""
    return next(layer for layer in model.layers if isinstance(layer, Backbone))


def traced(function, side):
    """Returns a tf.function of `images`, traced for float32 (the signature) and uint8."""
    compiled = tf.function(function, autograph=False)
    for dtype in (tf.float32, tf.uint8):
        compiled.get_concrete_function(tf.TensorSpec([None, side, side, 3], dtype, name="images"))
    return compiled


def compare(actual: dict, expected: dict, what: str) -> float:
    """Compares outputs, by name, with those expected.

    Returns:
      The largest difference of an output, as a share of its largest value.

    Raises:
      CorruptArtifactError: it is above TOLERANCE.
    """
    largest = 0.0
    for name, value in expected.items():
        if value.dtype.is_integer:
            # Classes, which follow from scores that are compared.
            continue
        scale = max(float(tf.reduce_max(tf.abs(value))), 1e-6)
        difference = float(tf.reduce_max(tf.abs(actual[name] - value))) / scale
        if not difference <= TOLERANCE:
            raise CorruptArtifactError(
                f"{what}: the exported {name} differs from the network's by {difference:.2g}; "
                "export again"
            )
        largest = max(largest, difference)
    return largest


def _mean_of_cells(maps):
    """Means [B, C] of maps [B, h, w, C]."""
    return keras.ops.mean(maps, axis=(1, 2))

"""Exports a trained run as a SavedModel that needs nothing but TensorFlow: to serve, to read layers from, to fine-tune.

    python -m ccssl_tf.export --run=runs/quickstart/cc --output_dir=DIR

Writes DIR/saved_model and DIR/export.json (signatures, shapes, input convention, provenance). Signatures take RGB images in [0, 255]:
`serve` (images of any size where the network allows), `serve_jpeg` (JPEG bytes), and for classifiers `backbone` (any size, no logits).
A segmenter gives `logits` and `classes` of every pixel, instead of layers.
Batch normalisation is merged into the kernels (--nofold_batch_norm keeps it, e.g. to fine-tune with it).
"""

import json
import pathlib

from absl import flags

from ccssl_tf import runtime

tf = runtime.quiet_tensorflow()

import keras
import numpy as np

from ccssl_tf import workdir as workdir_lib
from ccssl_tf.data import image_ops
from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.errors import CorruptArtifactError, FlagError, InputError
from ccssl_tf.models import backbone as backbone_lib
from ccssl_tf.models import fcn
from ccssl_tf.models.folding import fold_batch_normalization
from ccssl_tf.models.heads import build_classifier, head_features

RUN = flags.DEFINE_string("run", None, "Finished workdir of ccssl_tf.train that holds a backbone.keras.")
OUTPUT_DIR = workdir_lib.directory_flag("output_dir", None, "Directory for saved_model/ and export.json.")
FOLD = flags.DEFINE_bool("fold_batch_norm", True, "Merge batch normalisation into the kernels: the same outputs in fewer operations.")

# Largest difference of an output, as a share of its largest value, between the network and what was exported.
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
        self.backbone, self.classifier = backbone_lib.load_backbone(run), None
        if (run / "classifier.keras").is_file():
            self.classifier = backbone_lib.load_model(run / "classifier.keras")
            self.backbone = next(layer for layer in self.classifier.layers if isinstance(layer, backbone_lib.Backbone))
        network = self.classifier or self.backbone
        self.side = network.input_shape[1]
        size = self.side or workdir_lib.read_flags(run).get("image_size")
        if size is None:
            raise InputError(f"{run / 'flags.txt'}: no --image_size in it; the run was not made by ccssl_tf.train")
        self.image_size = int(size)
        self.is_folded = fold and self.backbone.get_config().get("normalization") == "batch_norm"
        if self.is_folded:
            self._fold()

    def _fold(self):
        images = np.random.default_rng(0).integers(0, 256, [2, self.image_size, self.image_size, 3], np.uint8)
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
        """Maps images [B, H, W, 3] uint8 or float32 to every endpoint, and `logits` of a classifier."""
        outputs = self.endpoints(images)
        if self.classifier:
            outputs["logits"] = self.classifier.get_layer("logits")(head_features(self.backbone, outputs))
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
        """Loads the SavedModel at `path` and compares it on random images; raises CorruptArtifactError when it differs."""
        loaded, random = tf.saved_model.load(str(path)), np.random.default_rng(0)
        for batch_size in (1, 3):
            images = random.integers(0, 256, [batch_size, self.image_size, self.image_size, 3], np.uint8)
            expected = self.serve(images)
            _compare(loaded.serve(tf.constant(images)), expected, f"serve of {batch_size} uint8 images")
            _compare(loaded.serve(tf.constant(images, tf.float32)), expected, f"serve of {batch_size} float32 images")
            encoded = tf.stack([tf.io.encode_jpeg(image) for image in images])
            _compare(loaded.serve_jpeg(encoded), self.serve_jpeg(encoded), f"serve_jpeg of {batch_size} images")
        if len(loaded.trainable_variables) != len((self.classifier or self.backbone).trainable_variables):
            raise CorruptArtifactError(f"{path}: the exported model has lost trainable variables; export again")

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
        """Loads the segmenter of the finished run in directory `run`; raises CorruptArtifactError when it is damaged."""
        run = _finished(run)
        self.classifier = backbone_lib.load_model(run / fcn.FILE_NAME)
        self.backbone = next(layer for layer in self.classifier.layers if isinstance(layer, backbone_lib.Backbone))
        self.side, self.is_folded = None, False
        flags_of_run = workdir_lib.read_flags(run)
        self.long_side = int(flags_of_run.get("fcn_long_side", 0))
        # For checking alone.
        self.image_size = self.long_side or int(flags_of_run.get("image_size", 227))

    def serve(self, images) -> dict:
        """Maps images [B, H, W, 3] uint8 or float32 to `logits` [B, H, W, C] and `classes` [B, H, W] int32."""
        logits = self.classifier(self.backbone.normalize(images), training=False)["logits"]
        return dict(logits=logits, classes=tf.argmax(logits, -1, tf.int32))

    def serve_jpeg(self, encoded) -> dict:
        """Maps JPEG bytes [B], of images of one size, to the outputs of `serve`, at the size the network was trained at."""

        def decode(one):
            image = image_ops.decoded(one)
            return image_ops.resized_long_side(image, self.long_side) if self.long_side else image

        return self.serve(tf.map_fn(decode, encoded, fn_output_signature=tf.TensorSpec([None, None, 3], tf.uint8)))

    def describe(self) -> dict:
        """As of a backbone; sizes are free."""
        facts = super().describe()
        outputs = dict(logits=[None, None, None, facts["outputs"]["logits"][-1]], classes=[None, None, None])
        return dict(facts, outputs=outputs, input=dict(facts["input"], image_size=None, long_side=self.long_side or None))


def load_run(run, fold: bool = True) -> Exported:
    """Returns what the finished run in directory `run` trained; see `Exported`.

    Raises:
      InputError: not a finished run with a backbone.
    """
    return ExportedSegmenter(run) if (pathlib.Path(run) / fcn.FILE_NAME).is_file() else Exported(run, fold)


def _finished(run):
    run = pathlib.Path(run)
    if not (run / "DONE").is_file():
        raise InputError(f"--run={run}: no finished run there; name the --workdir of a ccssl_tf.train that has ended")
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
            raise CorruptArtifactError(f"{what}: the exported {name} differs from the network's by {difference:.2g}; export again")


def export(run, output_dir, fold: bool = True):
    """Exports the finished run in directory `run` into `output_dir`, as `saved_model` and `export.json`.

    Args:
      run: workdir of a training.
      output_dir: directory of its own.
      fold: merge batch normalisation into the kernels.

    Raises:
      InputError: not a finished run with a backbone, or `output_dir` holds something else.
      CorruptArtifactError: damaged files, or the exported model does not reproduce the network.
    """
    exported = load_run(run, fold)
    with workdir_lib.Workdir(output_dir, inputs=dict(run=str(run))) as workdir:
        if workdir.is_done:
            print(f"{workdir.path}: already complete")
            return
        with manifest_lib.atomic_directory(workdir.path / "saved_model") as temporary:
            exported.save(temporary)
            exported.verify(temporary)
        facts = exported.describe()
        made_by = json.loads((pathlib.Path(run) / "run.json").read_text())
        provenance = dict(run=str(run), command=made_by["command"], inputs=made_by["inputs"], backbone=backbone_lib.describe(run))
        manifest_lib.write_json(workdir.path / "export.json", dict(facts, provenance=provenance))
        workdir.finish(metrics=facts)
    print(f"saved  {workdir.path / 'saved_model'}  outputs {', '.join(facts['outputs'])}  images {facts['input']['shape']}", flush=True)


def main():
    """Reads the flags and exports."""
    if not RUN.value or not OUTPUT_DIR.value:
        raise FlagError("set --run and --output_dir")
    if runtime.DRY_RUN.value:
        facts = load_run(RUN.value, FOLD.value).describe()
        megabytes = 4 * facts["num_parameters"] / 1e6
        print(f"would export {', '.join(facts['outputs'])} of {RUN.value}, about {megabytes:.0f} MB, into {OUTPUT_DIR.value}")
        return
    export(RUN.value, OUTPUT_DIR.value, FOLD.value)


if __name__ == "__main__":
    runtime.launch(main, __doc__)

"""A segmenter as functions of images in [0, 255] that a SavedModel can hold."""

import tensorflow as tf

from ccssl_tf.data import image_ops
from ccssl_tf.downstream.exported import Exported, backbone_of
from ccssl_tf.downstream.finished_run import finished
from ccssl_tf.models import backbone_file, fcn
from ccssl_tf.runs.run_record import read_flags


class ExportedSegmenter(Exported):
    """A segmenter as functions of images in [0, 255]; batch normalisation stays as it is."""

    what = "a segmenter"
    formats = ("saved_model", "litert", "onnx", "keras", "weights")

    def __init__(self, run):
        """Loads the segmenter of the finished run in directory `run`; raises CorruptArtifactError
        when it is damaged.
        """
        run = finished(run)
        self.classifier = backbone_file.load_model(run / fcn.FILE_NAME)
        self.backbone = backbone_of(self.classifier)
        self.side, self.is_folded = None, False
        flags_of_run = read_flags(run)
        self.long_side = int(flags_of_run.get("fcn_long_side", 0))
        # For checking alone.
        self.image_size = self.long_side or int(flags_of_run.get("image_size", 227))

    def serve(self, images) -> dict:
        """Maps images [B, H, W, 3] uint8 or float32 to `logits` [B, H, W, C] and `classes` [B, H,
        W] int32.
        """
        logits = self.outputs(images)["logits"]
        return dict(logits=logits, classes=tf.argmax(logits, -1, tf.int32))

    def outputs(self, images) -> dict:
        """Maps images to `logits`, from which the classes follow."""
        return dict(self.classifier(self.backbone.normalize(images), training=False))

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

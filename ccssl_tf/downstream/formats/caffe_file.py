"""An `.npz` of Caffe's blobs, which Caffe's users and `--init_backbone` read."""

import numpy as np

from ccssl_tf.downstream.exported import TOLERANCE, compare
from ccssl_tf.downstream.formats.file_format import FileFormat
from ccssl_tf.downstream.formats.function_file import random_images
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.caffe_arrays import CaffeArrays, arrayed_layers, write_caffe_arrays
from ccssl_tf.models.importers import import_backbone
from ccssl_tf.models.vgg16 import VGG16
from ccssl_tf.runs.errors import CorruptArtifactError, InputError


class CaffeFile(FileFormat):
    """The arrays of AlexNet or VGG16 and the classes on top, in Caffe's order and for BGR images.

    See `ccssl_tf.models.importers`; layers have the names they have here, the classes `logits`.
    """

    name = "npz"
    file_name = "model.npz"

    def __init__(self, exported, quantization=None):
        """As any; InputError for a network that Caffe's arrays do not tell."""
        super().__init__(exported, quantization)
        backbone = exported.backbone
        if not isinstance(backbone, AlexNet | VGG16):
            raise InputError(
                f"--format=npz: Caffe's arrays are those of alexnet and vgg16, not of "
                f"{backbone.name}; use --format=keras"
            )
        config = backbone.get_config()
        if config["normalization"] == "batch_norm":
            raise InputError(
                "--format=npz: Caffe's arrays have no batch normalisation; leave "
                "--nofold_batch_norm out"
            )
        if config["colors"] != "rgb":
            raise InputError(
                f"--format=npz: this network sees {config['colors']}, Caffe's arrays are of BGR; "
                "use --format=keras"
            )

    def write(self, path):
        """See `FileFormat`."""
        write_caffe_arrays(path, self.exported.backbone, self._head())

    def check(self, path):
        """Compares the endpoints of the network that the importer makes of the file, and the
        numbers of the classes.
        """
        exported, what = self.exported, f"--format={self.name}"
        images, backbone = random_images(exported), exported.backbone
        imported = import_backbone(path, type(backbone), **backbone.get_config())
        found = imported(imported.normalize(images), training=False)
        difference = compare(found, exported.endpoints(images), what)
        for layer in self._head():
            with CaffeArrays(path) as arrays:
                read = arrays.weights(layer)
            if not all(map(np.array_equal, read, layer.get_weights())):
                raise CorruptArtifactError(f"{what}: {layer.name} read back differs; export again")
        return dict(tolerance=TOLERANCE, largest_difference=difference)

    def describe(self):
        """What the first layer takes, and the arrays' layers."""
        backbone = self.exported.backbone
        convention = dict(channels="BGR", range=[0, 255], mean=list(backbone.input_mean[::-1]))
        layers = [layer.name for layer in (*arrayed_layers(backbone), *self._head())]
        return dict(input=convention, layers=layers)

    def _head(self) -> list:
        classifier = self.exported.classifier
        return [classifier.get_layer("logits")] if classifier else []

r"""Published weights in other formats: a `.caffemodel`'s arrays, and keras.applications' VGG16.

    python -m ccssl_tf.train --init_backbone=caffenet.npz --backbone=alexnet ...
    python -m ccssl_tf.train --init_backbone=vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5 \
        --backbone=vgg16 ...

An `.npz` holds the blobs of a Caffe network as plain arrays, named `<layer>/0` (weights) and
`<layer>/1` (biases). Where Caffe is installed:

    net = caffe.Net("deploy.prototxt", "caffenet.caffemodel", caffe.TEST)
    numpy.savez("caffenet.npz", **{f"{name}/{i}": blob.data for name, blobs in net.params.items()
    for i, blob in enumerate(blobs)})

Input convention, kept exactly: Caffe's networks take BGR minus a mean; ours take RGB minus
`input_mean`, so conv1's input channels are reversed and the mean becomes the backbone's own (104,
117, 123 in BGR for AlexNet, 103.939, 116.779, 123.68 for VGG16). For other networks the `.npz` may
also say `input_mean` [3] (in its own channel order), `input_channels` ("BGR" or "RGB") and
`input_scale` (what pixels were multiplied by after the mean was taken off; it goes into conv1's
kernel).
"""

import pathlib

from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.backbone import Backbone
from ccssl_tf.models.caffe_arrays import CaffeArrays, arrayed_layers
from ccssl_tf.models.keras_vgg16 import KerasVgg16
from ccssl_tf.models.vgg16 import VGG16
from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.files import file_sha256

SUFFIXES = (".npz", ".h5")

# BGR means as published: Caffe's users of ILSVRC2012; the VGG team and
# keras.applications.vgg16.preprocess_input.
_MEANS: dict[type[Backbone], tuple[float, float, float]] = {
    AlexNet: (104.0, 117.0, 123.0),
    VGG16: (103.939, 116.779, 123.68),
}


def import_backbone(path, kind: type[Backbone], **arguments) -> Backbone:
    """Builds a network and fills every layer of it from a file of published weights.

    Args:
      path: `.npz` of a `.caffemodel`'s arrays, or keras.applications' VGG16 `.h5` (with or without
        top, or saved by Keras itself).
      kind: AlexNet or VGG16.
      **arguments: of its constructor; with `fc_units=()` fully connected layers in the file are
        passed over.

    Returns:
      The backbone; its `input_mean` is the file's and `weights_from` names the file, its digest and
      its convention.

    Raises:
      InputError: no such file, another format, a layer is missing or has another shape, or the
        network has batch normalisation.
      CorruptArtifactError: the file is damaged.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.suffix not in SUFFIXES:
        raise InputError(
            f"{path}: not {' or '.join(SUFFIXES)}; there are importers for Caffe's arrays and "
            "keras.applications' VGG16"
        )
    if arguments.get("normalization") == "batch_norm":
        raise InputError(
            f"{path}: published weights have no batch normalisation; leave "
            "--normalization=batch_norm out"
        )
    if path.suffix == ".h5" and kind is not VGG16:
        raise InputError(
            f"{path}: an .h5 file holds weights of keras.applications; name the network, e.g. "
            "--backbone=vgg16 or ResNet50"
        )
    with (CaffeArrays if path.suffix == ".npz" else KerasVgg16)(path) as source:
        convention = source.convention(_MEANS[kind])
        backbone = kind(**{**arguments, "input_mean": convention["mean"]})
        layers = arrayed_layers(backbone)
        for layer in layers:
            kernel, bias = source.weights(layer)
            if layer is layers[0]:
                kernel = (
                    kernel[:, :, ::-1] if convention["channels"] == "BGR" else kernel
                ) * convention["scale"]
            layer.set_weights([kernel, bias])
    backbone.weights_from = dict(
        file=str(path), sha256=file_sha256(path), importer=source.name, first_layer_was=convention
    )
    return backbone

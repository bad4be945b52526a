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
import re
import zipfile
import zlib

import numpy as np

from ccssl_tf.models.backbone import Backbone
from ccssl_tf.runs.errors import CorruptArtifactError, InputError
from ccssl_tf.runs.files import file_sha256

SUFFIXES = (".npz", ".h5")

# BGR means as published: Caffe's users of ILSVRC2012; the VGG team and
# keras.applications.vgg16.preprocess_input.
_MEANS = {"AlexNet": (104.0, 117.0, 123.0), "VGG16": (103.939, 116.779, 123.68)}
_BLOB = re.compile(r"(?P<layer>.+)(?:[/.](?P<number>[01])|[/._](?P<name>w|weights?|b|bias(?:es)?))")
_KERAS_NAMES = {
    f"block{b}_conv{n}": f"conv{b}_{n}"
    for b, depth in enumerate((2, 2, 3, 3, 3), 1)
    for n in range(1, depth + 1)
}
_KERAS_NAMES |= dict(fc1="fc6", fc2="fc7")
_READING_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    KeyError,
    ValueError,
    RuntimeError,
    NotImplementedError,
)


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
    if path.suffix == ".h5" and kind.__name__ != "VGG16":
        raise InputError(
            f"{path}: an .h5 file holds weights of keras.applications; name the network, e.g. "
            "--backbone=vgg16 or ResNet50"
        )
    with (_CaffeArrays if path.suffix == ".npz" else _KerasVgg16)(path) as source:
        convention = source.convention(_MEANS[kind.__name__])
        backbone = kind(**{**arguments, "input_mean": convention["mean"]})
        layers = [layer for layer in backbone.layers if hasattr(layer, "kernel")]
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


class _CaffeArrays:
    """An `.npz` of Caffe's blobs: convolutions [out, in / groups, h, w], fully connected layers
    [out, C * h * w] flattened as CHW.
    """

    name = "caffe"

    def __init__(self, path):
        self._path = path

    def __enter__(self):
        try:
            self._archive = zipfile.ZipFile(self._path)
        except _READING_ERRORS as error:
            raise CorruptArtifactError(
                f"{self._path}: damaged, or not an .npz ({error}); make it again with numpy.savez"
            ) from error
        self._blobs, self._facts = {}, {}
        for member in self._archive.namelist():
            key = member.removesuffix(".npy")
            match = _BLOB.fullmatch(key)
            if key.startswith("input_"):
                self._facts[key] = member
            elif match:
                number = int(match["number"] or (match["name"] or "").startswith("b"))
                self._blobs[match["layer"], number] = member
        return self

    def __exit__(self, *unused):
        self._archive.close()

    def convention(self, mean_bgr) -> dict:
        """Returns `channels`, `mean` (RGB in [0, 255]) and `scale` of the input conv1 was trained
        on.
        """
        channels = (
            str(self._array("input_channels", ())) if "input_channels" in self._facts else "BGR"
        )
        if channels not in ("BGR", "RGB"):
            raise InputError(f"{self._path}: input_channels is {channels}; it must be BGR or RGB")
        mean = mean_bgr if channels == "BGR" else mean_bgr[::-1]
        mean = (
            self._array("input_mean", (3,)).astype(float).tolist()
            if "input_mean" in self._facts
            else list(mean)
        )
        scale = float(self._array("input_scale", ())) if "input_scale" in self._facts else 1.0
        if not (np.isfinite([*mean, scale]).all() and scale > 0):
            raise InputError(
                f"{self._path}: input_mean {mean} and input_scale {scale} must be finite and the "
                "scale positive"
            )
        return dict(channels=channels, mean=mean[::-1] if channels == "BGR" else mean, scale=scale)

    def weights(self, layer):
        """Returns (kernel, bias) of `layer` in Keras's layout."""
        shape = tuple(layer.kernel.shape)
        if len(shape) == 4:
            blob = self._blob(layer.name, 0, (shape[3], shape[2], *shape[:2]))
            kernel = blob.transpose(2, 3, 1, 0)
        else:
            blob = self._blob(layer.name, 0, shape[::-1])
            # What a Flatten layer was given: [h, w, C], where Caffe's blob counts C, h, w.
            flattened = _flattened_map(layer)
            if flattened:
                height, width, channels = flattened
                blob = (
                    blob.reshape(-1, channels, height, width)
                    .transpose(0, 2, 3, 1)
                    .reshape(blob.shape)
                )
            kernel = blob.T
        return kernel, self._blob(layer.name, 1, (shape[-1],))

    def _blob(self, layer, number, shape):
        if (layer, number) not in self._blobs:
            there, what = sorted({name for name, _ in self._blobs}), ("weights", "biases")[number]
            raise InputError(
                f"{self._path}: no {layer}/{number} ({what} of {layer}); its layers are "
                f"{', '.join(there) or 'none'}"
            )
        return self._array(self._blobs[layer, number], shape)

    def _array(self, key, shape):
        """Reads one array after its header has been found right, so that a wrong one is neither
        allocated nor unpickled.
        """
        member = self._facts.get(key, key)
        label = f"{self._path}: {member.removesuffix('.npy')}"
        try:
            with self._archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                read_header = (
                    np.lib.format.read_array_header_1_0
                    if version == (1, 0)
                    else np.lib.format.read_array_header_2_0
                )
                found, _, dtype = read_header(file)
            if dtype.kind not in ("fiu" if shape or key == "input_scale" else "U"):
                raise InputError(
                    f"{label} is not a plain array of numbers ({dtype}); save it with numpy.savez "
                    "from float arrays"
                )
            # Old models keep four dimensions for everything, ones first.
            if tuple(found)[max(0, len(found) - len(shape)) :] != shape or np.prod(
                found
            ) != np.prod(shape):
                raise InputError(
                    f"{label} has shape {list(found)}, the network being built has {list(shape)}"
                )
            with self._archive.open(member) as file:
                return np.lib.format.read_array(file, allow_pickle=False).reshape(shape)
        except InputError:
            raise
        except _READING_ERRORS as error:
            raise CorruptArtifactError(
                f"{label} is damaged ({error}); make the file again"
            ) from error


class _KerasVgg16:
    """VGG16 as keras.applications publishes it, or as Keras saves that model: kernels [h, w, in,
    out], conv1 for BGR.
    """

    name = "keras.applications.VGG16"

    def __init__(self, path):
        self._path = path

    def __enter__(self):
        import h5py

        try:
            self._file = h5py.File(self._path, "r")
            self._datasets = {}
            self._file.visititems(
                lambda name, item: (
                    self._note(name, item) if isinstance(item, h5py.Dataset) else None
                )
            )
        except _READING_ERRORS as error:
            raise CorruptArtifactError(
                f"{self._path}: damaged, or not an HDF5 file ({error}); download it again"
            ) from error
        return self

    def __exit__(self, *unused):
        self._file.close()

    def _note(self, name, dataset):
        """Files a data set under (our layer name, 0 for the kernel or 1 for the bias)."""
        for part in name.split("/"):
            if part in _KERAS_NAMES:
                self._datasets[_KERAS_NAMES[part], int(len(dataset.shape) == 1)] = dataset
                return
        # Keras 3's own `.weights.h5` numbers the layers of each class: layers/conv2d_3/vars/0.
        match = re.fullmatch(r"layers/(conv2d|dense)(?:_(\d+))?/vars/([01])", name)
        if match:
            names = list(_KERAS_NAMES.values())[:13] if match[1] == "conv2d" else ["fc6", "fc7"]
            place = int(match[2] or 0)
            if place < len(names):
                self._datasets[names[place], int(match[3])] = dataset

    def convention(self, mean_bgr) -> dict:
        """Returns what keras.applications.vgg16.preprocess_input makes of RGB images."""
        return dict(channels="BGR", mean=list(mean_bgr[::-1]), scale=1.0)

    def weights(self, layer):
        """Returns (kernel, bias) of `layer`."""
        return self._read(layer.name, 0, tuple(layer.kernel.shape)), self._read(
            layer.name, 1, tuple(layer.bias.shape)
        )

    def _read(self, layer, number, shape):
        dataset = self._datasets.get((layer, number))
        if dataset is None:
            missing = {ours: theirs for theirs, ours in _KERAS_NAMES.items()}[layer]
            there = (
                "it has no top"
                if layer in ("fc6", "fc7") and self._datasets
                else "is it keras.applications' VGG16?"
            )
            raise InputError(
                f"{self._path}: no {('kernel', 'bias')[number]} of {missing} (our {layer}); {there}"
            )
        if tuple(dataset.shape) != shape:
            raise InputError(
                f"{self._path}: {dataset.name} has shape {list(dataset.shape)}, the network being "
                f"built has {list(shape)}"
            )
        if dataset.is_virtual or dataset.external or dataset.dtype.kind != "f":
            raise InputError(
                f"{self._path}: {dataset.name} does not hold its own numbers; name the published "
                "file"
            )
        try:
            return dataset[()]
        except _READING_ERRORS as error:
            raise CorruptArtifactError(
                f"{self._path}: {dataset.name} is damaged ({error}); download it again"
            ) from error


def _flattened_map(layer):
    """Returns [h, w, C] of the map a dense layer reads through a Flatten, None when it reads a
    vector.
    """
    flatten = layer.input._keras_history.operation
    return tuple(flatten.input.shape[1:]) if type(flatten).__name__ == "Flatten" else None

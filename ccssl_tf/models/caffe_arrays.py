"""A Caffe network as an `.npz` of plain arrays, read and written (`ccssl_tf.models.importers`)."""

import re

import keras
import numpy as np

from ccssl_tf.data.numpy_files import ArrayArchive
from ccssl_tf.runs.errors import InputError

_BLOB = re.compile(r"(?P<layer>.+)(?:[/.](?P<number>[01])|[/._](?P<name>w|weights?|b|bias(?:es)?))")


class CaffeArrays:
    """An open `.npz` of Caffe's blobs.

    Convolutions are [out, in / groups, h, w], fully connected layers [out, C * h * w], flattened as
    CHW.

    Attributes:
      name: of the format.
    """

    name = "caffe"

    def __init__(self, path):
        self._path = path

    def __enter__(self):
        self._arrays = ArrayArchive(self._path)
        self._blobs = {}
        for key in self._arrays:
            if match := _BLOB.fullmatch(key):
                number = int(match["number"] or (match["name"] or "").startswith("b"))
                self._blobs[match["layer"], number] = key
        return self

    def __exit__(self, *unused):
        self._arrays.__exit__(*unused)

    def convention(self, mean_bgr) -> dict:
        """Returns `channels`, `mean` (RGB in [0, 255]) and `scale` of what conv1 was trained on.

        Args:
          mean_bgr: the mean where the file says none.

        Raises:
          InputError: the file says something that cannot be.
        """
        channels = (
            str(self._array("input_channels", ())) if "input_channels" in self._arrays else "BGR"
        )
        if channels not in ("BGR", "RGB"):
            raise InputError(f"{self._path}: input_channels is {channels}; it must be BGR or RGB")
        mean = mean_bgr if channels == "BGR" else mean_bgr[::-1]
        mean = (
            self._array("input_mean", (3,)).astype(float).tolist()
            if "input_mean" in self._arrays
            else list(mean)
        )
        scale = float(self._array("input_scale", ())) if "input_scale" in self._arrays else 1.0
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
        """Reads an array after its header: a wrong one is not read."""
        label, header = f"{self._path}: {key}", self._arrays.header(key)
        saved = header.shape
        if header.dtype.kind not in ("fiu" if shape or key == "input_scale" else "U"):
            raise InputError(
                f"{label} is not a plain array of numbers ({header.dtype}); save it with "
                "numpy.savez from float arrays"
            )
        # Old models keep four dimensions for everything, ones first.
        if saved[max(0, len(saved) - len(shape)) :] != shape or np.prod(saved) != np.prod(shape):
            raise InputError(
                f"{label} has shape {list(saved)}, the network being built has {list(shape)}"
            )
        return self._arrays[key].reshape(shape)


def arrayed_layers(backbone) -> list:
    """Returns the layers of a backbone that have blobs, the one that sees the image first."""
    kinds = (keras.layers.Conv2D, keras.layers.Dense)
    return [layer for layer in backbone.layers if isinstance(layer, kinds)]


def write_caffe_arrays(path, backbone, more_layers=()):
    """Writes the `.npz` that `CaffeArrays` reads: blobs of every layer, the first one's for BGR
    images less `input_mean`.

    Args:
      path: of the file.
      backbone: AlexNet or VGG16 on RGB images, without batch normalisation.
      more_layers: Dense layers on top of it.
    """
    arrays, layers = {}, arrayed_layers(backbone)
    for layer in (*layers, *more_layers):
        kernel, bias = layer.get_weights()
        if layer is layers[0]:
            kernel = kernel[:, :, ::-1]
        if kernel.ndim == 4:
            blob = kernel.transpose(3, 2, 0, 1)
        elif flattened := _flattened_map(layer):
            blob = kernel.T.reshape(-1, *flattened).transpose(0, 3, 1, 2).reshape(kernel.T.shape)
        else:
            blob = kernel.T
        arrays |= {f"{layer.name}/0": np.ascontiguousarray(blob), f"{layer.name}/1": bias}
    convention = dict(
        input_mean=np.array(backbone.input_mean[::-1]), input_channels=np.array("BGR")
    )
    with open(path, "wb") as file:
        np.savez(file, **arrays, **convention)


def _flattened_map(layer):
    """Returns [h, w, C] of the map a dense layer reads through a Flatten; None for a vector."""
    flatten = layer.input._keras_history.operation
    return tuple(flatten.input.shape[1:]) if isinstance(flatten, keras.layers.Flatten) else None

"""Reads keras.applications' VGG16 from its `.h5`, with or without top."""

import re

import h5py

from ccssl_tf.models.hdf5_files import open_hdf5
from ccssl_tf.runs.damage import told_as_damage
from ccssl_tf.runs.errors import InputError

_KERAS_NAMES = {
    f"block{b}_conv{n}": f"conv{b}_{n}"
    for b, depth in enumerate((2, 2, 3, 3, 3), 1)
    for n in range(1, depth + 1)
}
_KERAS_NAMES |= dict(fc1="fc6", fc2="fc7")
_ADVICE = "download it again"


class KerasVgg16:
    """An open `.h5` of keras.applications' VGG16, as published or as Keras saves that model.

    Kernels are [h, w, in, out], conv1 is for BGR.

    Attributes:
      name: of the format.
    """

    name = "keras.applications.VGG16"

    def __init__(self, path):
        self._path = path

    def __enter__(self):
        self._file = open_hdf5(self._path, _ADVICE)
        self._datasets = {}
        with told_as_damage(self._path, "damaged", _ADVICE):
            self._file.visititems(
                lambda name, item: (
                    self._note(name, item) if isinstance(item, h5py.Dataset) else None
                )
            )
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
        with told_as_damage(f"{self._path}: {dataset.name}", "damaged", _ADVICE):
            return dataset[()]

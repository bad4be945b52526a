"""Rows of features made elsewhere, in a file: an array with one row for each image."""

import pathlib
from collections.abc import Iterator

import numpy as np

from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.data import records
from ccssl_tf.data.datasets import serialized_records
from ccssl_tf.features.external_settings import ExternalSettings
from ccssl_tf.runs.errors import CorruptArtifactError, InputError
from ccssl_tf.runs.files import file_sha256
from ccssl_tf.runs.settings import whole_or_fields
from ccssl_tf.task import Extractor

_ROWS = 256


class FileExtractor(Extractor):
    """Rows of an array, by image index.

    An `.npy` is mapped, not loaded, so it may be larger than the memory.
    """

    Settings = ExternalSettings

    def __init__(self, settings: ExternalSettings | None = None, **fields):
        """Opens the array.

        Args:
          settings: or its fields by name; `features_file` is an `.npy` or `.npz` of plain arrays of
            numbers (nothing is unpickled).

        Raises:
          InputError: no such file, or not an array [N, D] of numbers.
          CorruptArtifactError: not a readable array file.
        """
        self.settings = whole_or_fields(ExternalSettings, settings, fields)
        path = self.path = pathlib.Path(self.settings.features_file)
        if not self.path.is_file():
            raise InputError(f"--features_file={path}: no such file")
        self._features, self._filenames = _read(self.path)
        if (
            self._features.ndim != 2
            or self._features.dtype.kind not in "fiu"
            or not self._features.size
        ):
            raise InputError(
                f"{path}: expected an array of numbers [N, D], found {self._features.dtype} "
                f"{list(self._features.shape)}"
            )
        if self._filenames is not None and self._filenames.shape != self._features.shape[:1]:
            raise InputError(
                f"{path}: {list(self._filenames.shape)} filenames for {len(self._features)} rows "
                "of features"
            )
        self.dim = self._features.shape[1]

    def describe(self) -> dict:
        """Returns `extractor`, and `features_file` apart from it: each split has another array."""
        return dict(
            extractor=dict(name="external"),
            features_file=dict(name=self.path.name, sha256=file_sha256(self.path)),
        )

    def inputs(self) -> dict[str, str]:
        """Returns flag -> path of what is read besides the images: the array."""
        return dict(features_file=str(self.path))

    def check(self, data_dir, split: str) -> None:
        """Raises InputError where the array has more or fewer rows than the split images."""
        images = manifest_lib.Manifest.read(data_dir, "images")
        if len(self._features) != images.num_examples(split):
            raise InputError(
                f"{self.path}: {len(self._features)} rows for the {images.num_examples(split)} "
                f"images of split {split} in {data_dir}; "
                "one row for each image, in the order of image/index, is needed"
            )

    def batches(
        self, data_dir, split: str, shards: list[int]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields the rows of the images of the shards, in order.

        Raises:
          InputError: the array has more or fewer rows than the split images, or `filenames` says
            another order.
        """
        self.check(data_dir, split)
        images = manifest_lib.Manifest.read(data_dir, "images")
        for shard in shards:
            path = pathlib.Path(data_dir) / images.shards(split)[shard].name
            parsed = serialized_records(path).map(records.parse_image)
            for batch in parsed.map(lambda one: (one["index"], one["filename"])).batch(_ROWS):
                index, names = (part.numpy() for part in batch)
                self._check_order(index, names, path)
                yield index, np.asarray(self._features[index], np.float32)

    def _check_order(self, index, names, path):
        if self._filenames is None:
            return
        for row, name in zip(index, names, strict=True):
            if _as_bytes(self._filenames[row]) != name:
                raise InputError(
                    f"{self.path}: row {row} is of {self._filenames[row]!r}, image {row} of {path} "
                    f"is {name!r}; sort the rows"
                )


def _read(path):
    try:
        if path.suffix == ".npy":
            return np.load(path, mmap_mode="r", allow_pickle=False), None
        with np.load(path, allow_pickle=False) as arrays:
            # A file that is no archive gives the one array that it holds.
            if isinstance(arrays, np.ndarray) or "features" not in arrays.files:
                raise InputError(f"{path}: holds no array `features`; an .npz needs one, [N, D]")
            return arrays["features"], arrays["filenames"] if "filenames" in arrays.files else None
    except InputError:
        raise
    except Exception as error:  # NumPy and zipfile raise anything on hostile bytes.
        raise CorruptArtifactError(f"{path}: not a file of plain NumPy arrays ({error})") from error


def _as_bytes(name):
    return name if isinstance(name, bytes) else str(name).encode()

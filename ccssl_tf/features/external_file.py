"""Rows of features made elsewhere, in a file: one for each image."""

import pathlib
from collections.abc import Iterator

import numpy as np

from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.data import records
from ccssl_tf.data.datasets import serialized_records
from ccssl_tf.features import row_alignment
from ccssl_tf.features.external_settings import ExternalSettings
from ccssl_tf.features.feature_rows_file import open_rows
from ccssl_tf.runs.files import file_sha256
from ccssl_tf.runs.settings import whole_or_fields
from ccssl_tf.task import Extractor

_ROWS = 256


class FileExtractor(Extractor):
    """Rows of a file, each found by its image's name or index.

    An `.npy` is mapped, not loaded, so it may be larger than the memory; of Parquet one row group
    is in memory.
    """

    Settings = ExternalSettings

    def __init__(self, settings: ExternalSettings | None = None, **fields):
        """Opens the file.

        Args:
          settings: or its fields by name; for `features_file` see `feature_rows_file.open_rows`.

        Raises:
          InputError: no such file, or not rows of numbers.
          CorruptArtifactError: not a readable file.
        """
        self.settings = whole_or_fields(ExternalSettings, settings, fields)
        self._rows = open_rows(pathlib.Path(self.settings.features_file))
        self.dim = self._rows.features.shape[1]
        self._aligned: tuple[str, str, np.ndarray] | None = None

    def describe(self) -> dict:
        """Returns `extractor`, and `features_file` apart from it: each split has another array."""
        path = self._rows.path
        return dict(
            extractor=dict(name="external"),
            features_file=dict(name=path.name, sha256=file_sha256(path)),
        )

    def inputs(self) -> dict[str, str]:
        """Returns flag -> path of what is read besides the images: the file."""
        return dict(features_file=str(self._rows.path))

    def check(self, data_dir, split: str) -> None:
        """Raises InputError where images have no row or several; see `row_alignment`."""
        self._rows_of(data_dir, split)

    def batches(
        self, data_dir, split: str, shards: list[int]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields the rows of the images of the shards, in order.

        Raises:
          InputError: see `check`.
        """
        rows = self._rows_of(data_dir, split)
        images = manifest_lib.Manifest.read(data_dir, "images")
        for shard in shards:
            path = pathlib.Path(data_dir) / images.shards(split)[shard].name
            indices = serialized_records(path).map(lambda one: records.parse_image(one)["index"])
            for index in indices.batch(_ROWS).as_numpy_iterator():
                yield index, np.asarray(self._rows.features[rows[index]], np.float32)

    def _rows_of(self, data_dir, split):
        """The row of every image of a split, found once."""
        place = str(data_dir), split
        if self._aligned is None or self._aligned[:2] != place:
            self._aligned = (*place, row_alignment.rows_of_images(self._rows, data_dir, split))
        return self._aligned[2]

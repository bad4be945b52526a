"""Features made elsewhere, so that any network or program may be the teacher."""

from collections.abc import Iterator

import numpy as np

from ccssl_tf.features.external_file import FileExtractor
from ccssl_tf.features.external_model import ExternalModelExtractor
from ccssl_tf.features.external_settings import ExternalSettings
from ccssl_tf.features.model_files import open_model
from ccssl_tf.runs.settings import whole_or_fields
from ccssl_tf.task import Extractor


class ExternalExtractor(Extractor):
    """Features made elsewhere: the rows of an array, or an output of somebody else's network."""

    Settings = ExternalSettings

    def __init__(self, settings: ExternalSettings | None = None, **fields):
        """Opens the array or the network.

        Args:
          settings: or its fields by name.

        Raises:
          InputError: see `FileExtractor`, `open_model` and `ExternalModelExtractor`.
          CorruptArtifactError: the file is damaged.
        """
        settings = whole_or_fields(ExternalSettings, settings, fields)
        self._extractor: Extractor
        if settings.features_file:
            self._extractor = FileExtractor(settings)
        else:
            opened = open_model(
                settings.model,
                output=settings.output,
                weights=settings.weights,
                trust=settings.trust_model,
                width_multiplier=settings.width_multiplier,
            )
            self._extractor = ExternalModelExtractor(opened, settings)
        self.settings, self.dim = self._extractor.settings, self._extractor.dim

    def describe(self) -> dict:
        """Returns what the manifest says of the features."""
        return self._extractor.describe()

    def inputs(self) -> dict[str, str]:
        """Returns flag -> path of what is read besides the images."""
        return self._extractor.inputs()

    def check(self, data_dir, split: str) -> None:
        """Raises InputError where an array has more or fewer rows than the split images."""
        self._extractor.check(data_dir, split)

    def batches(
        self, data_dir, split: str, shards: list[int]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields the rows of the images of the shards, in order."""
        return self._extractor.batches(data_dir, split, shards)

"""What all formats of an exported run have in common."""

import abc
import contextlib
import dataclasses
import os
import pathlib
import typing
from collections.abc import Callable

from ccssl_tf.downstream.exported import Exported
from ccssl_tf.runs.files import atomic_file, file_sha256, fingerprint_of


@dataclasses.dataclass(frozen=True)
class Quantization:
    """How numbers become whole ones.

    Attributes:
      data_dir: image shards whose images say how large the numbers of each layer are.
      seed: of the choice of the images.
    """

    data_dir: str
    seed: int = 0


class FileFormat(abc.ABC):
    """A run in one format: written, and what was written run and compared with Keras.

    Attributes:
      name: as --format has it.
      file_name: what the file or directory is called.
      published: `atomic_file` or `atomic_directory`, by what the format is.
      exported: what the run trained.
    """

    name: typing.ClassVar[str]
    file_name: typing.ClassVar[str]
    published: typing.ClassVar[Callable[..., contextlib.AbstractContextManager]] = staticmethod(
        atomic_file
    )

    def __init__(self, exported: Exported, quantization: Quantization | None = None):
        """Takes what is to be written.

        Args:
          exported: what the run trained; its `formats` has this one.
          quantization: how, in formats that can, and None for numbers as they are.

        Raises:
          InputError: this format cannot hold it, or what is needed is not installed.
        """
        self.exported = exported

    @abc.abstractmethod
    def write(self, path: pathlib.Path):
        """Writes to `path`, which does not exist."""

    @abc.abstractmethod
    def check(self, path: pathlib.Path) -> dict:
        """Runs what is at `path` and compares it with Keras.

        Returns:
          `tolerance` and `largest_difference`, as shares of an output's largest value.

        Raises:
          CorruptArtifactError: it gives something else.
        """

    @abc.abstractmethod
    def describe(self) -> dict:
        """Returns what export.json says of inputs and outputs."""


def digest(path: pathlib.Path) -> str:
    """Returns the SHA-256 (hex) of a file; of a directory, that of its files' names and digests."""
    if path.is_file():
        return file_sha256(path)
    files = [pathlib.Path(root, name) for root, _, names in os.walk(path) for name in names]
    return fingerprint_of({file.relative_to(path).as_posix(): file_sha256(file) for file in files})

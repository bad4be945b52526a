"""Files of one function: from images of the run's size to every output by its name."""

import abc
import contextlib
import pathlib
import typing

import numpy as np

from ccssl_tf.downstream.exported import TOLERANCE, Exported, compare
from ccssl_tf.downstream.formats.file_format import FileFormat
from ccssl_tf.runs.errors import CcsslError, InputError

_CHECKED_IMAGES = 2


class FunctionFile(FileFormat):
    """A file of `Exported.outputs`: `logits` of a classifier, every endpoint, and `embedding`.

    Attributes:
      batch_size: images at a time; None for any number.
    """

    batch_size: typing.ClassVar[int | None] = None

    @abc.abstractmethod
    def run(self, path: pathlib.Path, images: np.ndarray) -> dict:
        """Loads the file at `path` and returns its outputs, by name, of `images` [B, S, S, 3]
        float32 in [0, 255].
        """

    def check(self, path):
        """Compares outputs of random images."""
        images = random_images(self.exported)
        difference = compare(
            self.run(path, images), self.exported.outputs(images), f"--format={self.name}"
        )
        return dict(tolerance=TOLERANCE, largest_difference=difference)

    def describe(self):
        """Name, shape, type and range of the images, and the shapes of the outputs."""
        side = self.exported.image_size
        images = dict(
            name="images",
            shape=[self.batch_size, side, side, 3],
            dtype="float32",
            range=[0, 255],
            channels="RGB",
        )
        outputs = self.exported.outputs(np.zeros([1, side, side, 3], np.float32))
        shapes = {name: [self.batch_size, *value.shape[1:]] for name, value in outputs.items()}
        return dict(input=images, outputs=shapes)


def random_images(exported: Exported) -> np.ndarray:
    """Returns images [B, S, S, 3] float32 in [0, 255] of the run's size, the same every time."""
    shape = [_CHECKED_IMAGES, exported.image_size, exported.image_size, 3]
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)


@contextlib.contextmanager
def converting(name: str):
    """Inside this context a converter's error, of any class, is one line about --format=`name`."""
    try:
        yield
    except (MemoryError, OSError, CcsslError):
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = next((line for line in lines if "not supported" in line), (lines or [""])[0])
        raise InputError(
            f"--format={name}: the converter cannot take this network "
            f"({type(error).__name__}: {reason[:200]}); use --format=saved_model"
        ) from error

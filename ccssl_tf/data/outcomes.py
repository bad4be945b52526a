"""Which held-out images an evaluation got right: the file `outcomes.npz` beside `metrics.json`.

It holds `count`, the number of images, and of each layer an array of bits, 1 for a right answer, in
the order of the images' index and packed as `numpy.packbits` does.
"""

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ccssl_tf.data.numpy_files import ArrayArchive
from ccssl_tf.runs.damage import told_as_damage
from ccssl_tf.runs.errors import CorruptArtifactError
from ccssl_tf.runs.files import atomic_file

FILE_NAME = "outcomes.npz"
_ADVICE = "run the evaluation again in another directory"


@dataclasses.dataclass(frozen=True)
class Outcomes:
    """Right and wrong answers of one evaluation.

    Attributes:
      count: N, number of images.
      packed: layer -> ceil(N / 8) bytes.

    Raises (when made):
      ValueError: there is no image, or the bytes of a layer are not as many as that.
    """

    count: int
    packed: dict[str, bytes]

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count is {self.count}")
        for layer, bits in self.packed.items():
            if len(bits) != -(-self.count // 8):
                raise ValueError(f"{layer} has {len(bits)} bytes for {self.count} images")

    def correct(self, layer: str) -> np.ndarray:
        """Returns [N] bool, whether the answers of a layer are right; KeyError for no such layer.

        >>> Outcomes(3, {"conv1": bytes([0b10100000])}).correct("conv1").tolist()
        [True, False, True]
        """
        bits = np.frombuffer(self.packed[layer], np.uint8)
        return np.unpackbits(bits, count=self.count).astype(bool)


def write_outcomes(correct: Mapping[str, np.ndarray], directory: str | os.PathLike) -> None:
    """Writes what a run got right, wholly or not at all.

    Args:
      correct: layer -> [N] bool, whether the answer to each image is right; of one N.
      directory: of the run.
    """
    (count,) = {len(right) for right in correct.values()}
    arrays: dict[str, Any] = {layer: np.packbits(right) for layer, right in correct.items()}
    with atomic_file(pathlib.Path(directory) / FILE_NAME) as temporary:
        np.savez(temporary, **arrays, count=np.int64(count))


def read_outcomes(directory: str | os.PathLike) -> Outcomes | None:
    """Returns what the run in `directory` got right, None where it does not tell.

    Raises:
      CorruptArtifactError: the file is damaged or holds something else.
    """
    path = pathlib.Path(directory) / FILE_NAME
    if not path.is_file():
        return None
    what = "holds no outcomes"
    with told_as_damage(path, what, _ADVICE):
        with ArrayArchive(path, what=what, advice=_ADVICE) as saved:
            arrays = dict(saved)
        if "count" not in arrays:
            raise ValueError("it has no count")
        count = arrays.pop("count")
        if count.ndim or not np.issubdtype(count.dtype, np.integer):
            raise ValueError("count is no whole number")
        for name, array in arrays.items():
            if array.dtype != np.uint8 or array.ndim != 1:
                raise ValueError(f"{name} is {array.dtype} {array.shape}, not packed bits")
        return Outcomes(int(count), {name: arrays[name].tobytes() for name in sorted(arrays)})


def check_against(
    outcomes: Outcomes, metrics: dict[str, float], directory: str | os.PathLike
) -> None:
    """Raises CorruptArtifactError where outcomes are not those that the metrics are of.

    Args:
      outcomes: of a run.
      metrics: its numbers, their keys joined with dots; `evaluation.accuracy/<layer>` is compared.
      directory: of the run, for the message.
    """
    for layer in outcomes.packed:
        accuracy = metrics.get(f"evaluation.accuracy/{layer}")
        right = int(outcomes.correct(layer).sum())
        # The accuracy was summed in float32.
        if accuracy is not None and abs(accuracy * outcomes.count - right) > 0.5:
            raise CorruptArtifactError(
                f"{pathlib.Path(directory) / FILE_NAME}: {right} of {outcomes.count} answers of "
                f"{layer} are right, where metrics.json says {accuracy:.6g}; {_ADVICE}"
            )

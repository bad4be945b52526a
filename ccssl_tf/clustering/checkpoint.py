"""What an interrupted fit needs to continue to the same centroids: an `.npz` of plain arrays."""

import dataclasses
import pathlib
import zipfile

import numpy as np

from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.errors import CorruptArtifactError, InputError


@dataclasses.dataclass
class FitState:
    """The state before a pass.

    Attributes:
      iteration: updates of the centroids so far.
      centroids: [K, D] float32.
      labels: [N] int32, assignments of the pass before; -1 before the first.
      inertia: of the pass before; infinite before the first.
      reseeded: whether empty clusters were re-seeded after it.
      sums: [K, D] float64 of the rows by `labels`: a pass that only adds what moved continues from them.
    """

    iteration: int
    centroids: np.ndarray
    labels: np.ndarray
    inertia: float
    reseeded: bool
    sums: np.ndarray

    @classmethod
    def start(cls, centroids: np.ndarray, num_examples: int) -> "FitState":
        """Returns the state before the first pass."""
        return cls(0, centroids, np.full(num_examples, -1, np.int32), float("inf"), False, np.zeros(centroids.shape))


def save(path, state, identity: str):
    """Writes `state`, a dataclass of arrays and numbers, wholly or not at all; `identity` is a digest of features, K, start and seed."""
    with manifest_lib.atomic_file(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, identity=np.array(identity), **vars(state))


def load(path, identity: str, kind: type = FitState):
    """Returns the saved state, of dataclass `kind`; None if there is none.

    Raises:
      InputError: it belongs to other features, K, start or seed.
      CorruptArtifactError: it cannot be read.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as saved:
            found = str(saved["identity"])
            values = {field.name: saved[field.name] for field in dataclasses.fields(kind) if found == identity}
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise CorruptArtifactError(f"{path}: not a k-means checkpoint ({error}); remove it to start again") from error
    if found != identity:
        raise InputError(
            f"{path}: belongs to other features, K, start or seed ({found[:12]}, now {identity[:12]}); remove it to start again"
        )
    return kind(**{name: value if value.ndim else value.item() for name, value in values.items()})

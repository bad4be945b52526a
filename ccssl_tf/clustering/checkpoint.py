"""What an interrupted fit needs to continue to the same centroids: an `.npz` of plain arrays."""

import contextlib
import dataclasses
import pathlib
import time
import zipfile

import numpy as np

from ccssl_tf.runs.errors import CorruptArtifactError, InputError, Interrupted
from ccssl_tf.runs.files import atomic_file


@dataclasses.dataclass
class FitState:
    """The state before a pass, or inside it.

    Attributes:
      iteration: updates of the centroids so far.
      centroids: [K, D] float32.
      labels: [N] int32, assignments of the pass before; -1 before the first.
      inertia: of the pass before; infinite before the first.
      reseeded: whether empty clusters were re-seeded after it.
      sums: [K, D] float64 of the rows by `labels`, the first ones by `new_labels`: a pass that only
        adds what moved continues from them.
      new_labels, new_squares: [n] int32 and float32, what the pass found for its first n rows.
    """

    iteration: int
    centroids: np.ndarray
    labels: np.ndarray
    inertia: float
    reseeded: bool
    sums: np.ndarray
    new_labels: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int32))
    new_squares: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.float32))

    @classmethod
    def start(cls, centroids: np.ndarray, num_examples: int) -> "FitState":
        """Returns the state before the first pass."""
        return cls(
            0,
            centroids,
            np.full(num_examples, -1, np.int32),
            float("inf"),
            False,
            np.zeros(centroids.shape),
        )


def save(path, state, identity: str):
    """Writes `state`, a dataclass of arrays and numbers, wholly or not at all; `identity` is a
    digest of features, K, start and seed.
    """
    with atomic_file(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, identity=np.array(identity), **vars(state))


class PassSaver:
    """Saves the state before every pass; inside a long one again, every `seconds` at most, and when
    it is interrupted.
    """

    def __init__(self, path, identity: str, seconds: float):
        """Args: path: None: nothing is saved; identity: see `save`."""
        self._path, self._identity, self._seconds = path, identity, seconds
        self._state = self._part = None
        self._saved = 0.0

    @contextlib.contextmanager
    def during(self, state: FitState):
        """The context of the pass that `state` is before, or inside of."""
        self._state, self._part = state, None
        if not len(state.new_labels):
            self._save(state)
        try:
            yield
        except Interrupted:
            self._save_part()
            raise

    def on_rows(self, done: int, labels: np.ndarray, squares: np.ndarray, sums: np.ndarray):
        """Takes note that the first `done` rows are done; see `assignment`."""
        self._part = done, labels, squares, sums
        if done < len(labels) and time.monotonic() - self._saved >= self._seconds:
            self._save_part()

    def _save_part(self):
        if self._part:
            done, labels, squares, sums = self._part
            self._save(
                dataclasses.replace(
                    self._state, sums=sums, new_labels=labels[:done], new_squares=squares[:done]
                )
            )

    def _save(self, state):
        if self._path:
            save(self._path, state, self._identity)
        self._saved = time.monotonic()


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
            values = {
                field.name: saved[field.name]
                for field in dataclasses.fields(kind)
                if found == identity
            }
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise CorruptArtifactError(
            f"{path}: not a k-means checkpoint ({error}); remove it to start again"
        ) from error
    if found != identity:
        raise InputError(
            f"{path}: belongs to other features, K, start or seed ({found[:12]}, now "
            f"{identity[:12]}); remove it to start again"
        )
    return kind(**{name: value if value.ndim else value.item() for name, value in values.items()})

"""What an interrupted fit needs to continue to the same centroids: an `.npz` of plain arrays."""

import contextlib
import dataclasses
import os
import pathlib
import time
from collections.abc import Iterator
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np

from ccssl_tf.data.numpy_files import ArrayArchive
from ccssl_tf.runs.damage import told_as_damage
from ccssl_tf.runs.errors import InputError, Interrupted
from ccssl_tf.runs.files import atomic_file


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


_State = TypeVar("_State", bound=_Dataclass)


@dataclasses.dataclass
class FitState:
    """The state before a pass, or inside it.

    Attributes:
      iteration: int, number of updates of the centroids so far.
      centroids: [K, D] float32.
      labels: [N] int32, assignments of the pass before; -1 before the first.
      inertia: float, of the pass before; infinite before the first.
      reseeded: int, number of empty clusters that were re-seeded after it.
      sums: [K, D] float64, of the rows by `labels`, the first n by `new_labels`: a pass that only
        adds what moved continues from them.
      new_labels: [n] int32, assignments of the first n rows by the pass that was interrupted.
      new_squares: [n] float32, their squared distances.
    """

    iteration: int
    centroids: np.ndarray
    labels: np.ndarray
    inertia: float
    reseeded: int
    sums: np.ndarray
    new_labels: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int32))
    new_squares: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.float32))

    @classmethod
    def start(cls, centroids: np.ndarray, num_examples: int) -> "FitState":
        """Returns the state before the first pass."""
        return cls(
            iteration=0,
            centroids=centroids,
            labels=np.full(num_examples, -1, np.int32),
            inertia=float("inf"),
            reseeded=0,
            sums=np.zeros(centroids.shape),
        )


def save(path: str | os.PathLike, state: _Dataclass, identity: str) -> None:
    """Writes a state, wholly or not at all.

    Args:
      path: of the `.npz`.
      state: a dataclass of arrays and numbers.
      identity: a digest of what the state belongs to, such as features, K, start and seed.
    """
    with atomic_file(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, identity=np.array(identity), **vars(state))


class PassSaver:
    """Saves the state of a fit before every pass, inside a long one, and when it is interrupted."""

    def __init__(self, path: str | os.PathLike | None, identity: str, seconds: float):
        """Sets up the saving.

        Args:
          path: of the `.npz`; None: nothing is saved.
          identity: see `save`.
          seconds: time between two states of one pass, at least.
        """
        self._path, self._identity, self._seconds = path, identity, seconds
        self._part: FitState | None = None
        self._saved = 0.0

    @contextlib.contextmanager
    def during(self, state: FitState) -> Iterator[None]:
        """Returns the context of a pass; state: the one before it, or inside it if it continues."""
        self._state, self._part = state, None
        if not len(state.new_labels):
            self._save(state)
        try:
            yield
        except Interrupted:
            self._save_part()
            raise

    def on_rows(self, done: int, labels: np.ndarray, squares: np.ndarray, sums: np.ndarray) -> None:
        """Takes note that the first `done` rows are done; see `assignment.OnRows`."""
        # No copy is needed: until the next call these labels, squares and sums stay as they are.
        self._part = dataclasses.replace(
            self._state, sums=sums, new_labels=labels[:done], new_squares=squares[:done]
        )
        if done < len(labels) and time.monotonic() - self._saved >= self._seconds:
            self._save_part()

    def _save_part(self) -> None:
        if self._part:
            self._save(self._part)

    def _save(self, state: FitState) -> None:
        if self._path:
            save(self._path, state, self._identity)
        self._saved = time.monotonic()


def load(path: str | os.PathLike, identity: str, kind: type[_State]) -> _State | None:
    """Returns the state that `save` wrote; None if there is none.

    Args:
      path: of the `.npz`.
      identity: the one that it must have been saved with.
      kind: its class.

    Raises:
      InputError: it has another identity.
      CorruptArtifactError: it cannot be read.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        return None
    what, advice = "not a k-means checkpoint", "remove it to start again"
    with told_as_damage(path, what, advice), ArrayArchive(path, what=what, advice=advice) as saved:
        saved_identity = str(saved["identity"])
        values = {
            field.name: saved[field.name]
            for field in dataclasses.fields(kind)
            if saved_identity == identity
        }
    if saved_identity != identity:
        raise InputError(
            f"{path}: belongs to other features, K, start or seed ({saved_identity[:12]}, now "
            f"{identity[:12]}); remove it to start again"
        )
    return kind(**{name: value if value.ndim else value.item() for name, value in values.items()})

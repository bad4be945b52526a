"""The contract of one pass of Lloyd's k-means: the rows go to their nearest centroids.

Assignments of `host` compute on processors, those of `device` on TensorFlow's devices; `engines`
says which of them make the passes of a fit.
"""

import abc
import dataclasses
from collections.abc import Callable

import numpy as np

from ccssl_tf.clustering.rows.chunk_reader import ChunkReader


@dataclasses.dataclass
class PassResult:
    """What a pass computed.

    Attributes:
      labels: [N] int32, the nearest centroid of every row; ties: the lower number.
      squares: [N] float32, the squared distance to it, computed as a sum of squared differences.
      sums: [K, D] float64, sums of the rows by label.
      counts: [K], sums of the weights of the rows by label: int64, numbers of rows, where all rows
        weigh the same, else float64.
      changed: [c] int64, the clusters whose sums or counts may differ from those of the pass
        before.
      distances: int, number of distances between a row and a centroid that were computed.
      bytes_read: int, bytes read from the source; 0 if the rows were in memory.
    """

    labels: np.ndarray
    squares: np.ndarray
    sums: np.ndarray
    counts: np.ndarray
    changed: np.ndarray
    distances: int
    bytes_read: int


@dataclasses.dataclass
class Begun:
    """What a pass had computed of its first n rows when it was interrupted, beside their labels.

    Attributes:
      before: [n] int32, their labels in the pass before.
      squares: [n] float32, as in `PassResult`.
    """

    before: np.ndarray
    squares: np.ndarray

    @classmethod
    def nothing(cls) -> "Begun":
        """Returns the beginning of a pass: no row is done."""
        return cls(np.zeros(0, np.int32), np.zeros(0, np.float32))

    def changed(self, labels: np.ndarray) -> np.ndarray:
        """Returns the clusters that lost or won one of the n rows, [c] int, ascending.

        Args:
          labels: [N] int32 of the interrupted pass.
        """
        now = labels[: len(self.before)]
        moved = self.before != now
        return np.setdiff1d(np.union1d(self.before[moved], now[moved]), [-1])


# Called as on_rows(done, labels, squares, sums) when the rows before number `done` are assigned:
# [N] int32, [N] float32 and [K, D] float64 as in `PassResult`. Until the next call the labels and
# squares of these rows, and the sums, stay as they are.
OnRows = Callable[[int, np.ndarray, np.ndarray, np.ndarray], None]


class Assignment(abc.ABC):
    """A way to assign the rows of one fit to their nearest centroids, pass after pass.

    It is made from a reader of the rows, labels and sums (see `MakeAssignment`): those of the pass
    before, as a checkpoint holds them, or -1 and zeros. Whatever else an object keeps from pass to
    pass must not change what `step` returns, so that a fit that is continued by a new object ends
    with the same bits.
    """

    @abc.abstractmethod
    def step(
        self, centroids: np.ndarray, begun: Begun | None = None, on_rows: OnRows | None = None
    ) -> PassResult:
        """Makes one pass.

        Args:
          centroids: [K, D] float32; the caller does not change them afterwards.
          begun: of an interrupted pass, which goes on after its first n rows: the labels and sums
            given to the constructor include these rows. None: the pass starts at the first row.
          on_rows: called after every part of the rows.

        Raises:
          InputError, CorruptArtifactError: a row is not finite, or the source does not give as
            many rows as it has.
        """


# Called as make(reader, labels, sums): a ChunkReader of all rows, [N] int32 (-1: no label yet) and
# [K, D] float64, the sums of the rows by these labels. Labels and sums are not changed.
MakeAssignment = Callable[[ChunkReader, np.ndarray, np.ndarray], Assignment]

"""The contract of everything that gives rows of features: an array, a tf.data, a directory."""

import abc
import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from ccssl_tf.runs.errors import InputError


class FeatureSource(abc.ABC):
    """Rows of features [N, D] that can be read again and again, always in the same order.

    Attributes:
      num_examples: int, N.
      dim: int, D.
      dtype: np.dtype of the rows as `chunks` yields them.
      in_memory: bool, whether all rows lie in memory, so that nobody needs to keep a copy.
      num_bytes: int, bytes of all rows if they are kept as they are.
      bytes_per_pass: int, bytes that a pass over all rows reads; 0 if they lie in memory.
    """

    num_examples: int
    dim: int
    dtype: np.dtype
    in_memory: bool
    num_bytes: int
    bytes_per_pass: int

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """Returns a digest that tells these rows from others."""

    @abc.abstractmethod
    def chunks(self, rows: int) -> Iterator[np.ndarray]:
        """Yields the rows in order as [rows, D]; the last chunk may have fewer.

        Raises:
          CorruptArtifactError: a file is damaged; the message names it.
        """

    @abc.abstractmethod
    def blocks_holding(self, positions: np.ndarray) -> tuple[Iterable[np.ndarray], np.ndarray]:
        """Returns some rows without a pass over all of them, if the source can leave rows out.

        Args:
          positions: [n] int, ascending, of the rows that are wanted.

        Returns:
          Blocks [b, D] of rows in order, and the positions of the wanted rows [n], ascending,
          counted from the first row of the first block.
        """

    @abc.abstractmethod
    def not_finite(self, position: int) -> Exception:
        """Returns the error to raise for the row at `position`, which holds a NaN or infinity."""

    def other_count(self, count: int) -> Exception:
        """Returns the error to raise for a pass that gave `count` rows or more, and not N."""
        return InputError(
            f"features: a pass gave {count} rows or more instead of {self.num_examples}; every "
            "pass must give the same rows"
        )

    def windows(self, generator: np.random.Generator, rows: int) -> list[list[range]]:
        """Returns which rows are in memory together, window by window, in a shuffled pass.

        Here the rows follow each other in their only order; a source that can be read in another
        order draws one.

        Args:
          generator: of the order.
          rows: number of rows that a window has at most; a part that cannot be divided may have
            more.

        Returns:
          For each window the ranges of positions that make it up.
        """
        del generator
        return [
            [range(start, min(start + rows, self.num_examples))]
            for start in range(0, self.num_examples, rows)
        ]

    def read_windows(self, windows: list[list[range]], first: int) -> Iterator[np.ndarray]:
        """Yields the rows [w, D] of each of `windows`, what `windows()` gave, from number `first`.

        Windows before that are not read if the source can leave rows out.
        """
        yield from itertools.islice(self.chunks(len(windows[0][0])), first, len(windows))

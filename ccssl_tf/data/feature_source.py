"""The contract of everything that gives rows of features: an array, a tf.data, a directory."""

import abc
import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

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
      weights: [N] float64, how much each row counts; None: all the same.
    """

    num_examples: int
    dim: int
    dtype: np.dtype
    in_memory: bool
    num_bytes: int
    bytes_per_pass: int
    weights: np.ndarray | None = None

    def weights_of(self, rows: slice) -> np.ndarray | None:
        """Returns the weights [n] of some rows; None: all the same."""
        return None if self.weights is None else self.weights[rows]

    @property
    def total_weight(self) -> float:
        """The sum of the weights of all rows, N where they are the same."""
        return self.num_examples if self.weights is None else float(self.weights.sum())

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

    def reading_fault(self) -> Exception:
        """Returns the error to raise where TensorFlow failed while it read `dataset`."""
        return InputError("features: the rows cannot be read; see the error before this one")

    def dataset(self, rows: int, faults: list[Exception]) -> tf.data.Dataset:
        """Returns the rows in order as a tf.data of [rows, D]; its last element may have fewer.

        Args:
          rows: number of rows of an element.
          faults: an error of this source is put there when it ends the reading; TensorFlow raises
            one of its own then.
        """

        def chunks() -> Iterator[np.ndarray]:
            count = 0
            for chunk in self.chunks(rows):
                count += len(chunk)
                yield chunk
            if count != self.num_examples:
                raise self.other_count(count)

        return generated(chunks, tf.TensorSpec([None, self.dim], self.dtype), faults)

    def shuffled(
        self, generator: np.random.Generator, rows: int, skip: int, faults: list[Exception]
    ) -> tf.data.Dataset:
        """Returns the rows of a pass in random order.

        Here windows of rows that follow each other are read in their only order, and permuted; a
        source that can be read in another order draws one.

        Args:
          generator: of the order.
          rows: number of rows that are in memory together, at most; a part of the source that
            cannot be divided may have more.
          skip: number of rows to leave out at the beginning of the pass.
          faults: as of `dataset`.

        Returns:
          A tf.data of (positions [w] int64, rows [w, D]).
        """
        starts = range(0, self.num_examples, rows)
        orders = [
            start + generator.permutation(min(rows, self.num_examples - start)) for start in starts
        ]

        def windows() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            wanted, count = skip, 0
            for chunk, order in itertools.zip_longest(self.chunks(rows), orders):
                if chunk is None or order is None or len(chunk) != len(order):
                    raise self.other_count(count + (0 if chunk is None else len(chunk)))
                if wanted < len(order):
                    yield order[wanted:], chunk[order[wanted:] - count]
                wanted, count = max(wanted - len(order), 0), count + len(order)

        return generated(windows, self.shuffled_spec(), faults)

    def shuffled_spec(self) -> tuple[tf.TensorSpec, tf.TensorSpec]:
        """Returns what the elements of `shuffled` are."""
        return tf.TensorSpec([None], tf.int64), tf.TensorSpec([None, self.dim], self.dtype)


def generated(
    iterate: Callable[[], Iterator], signature: Any, faults: list[Exception]
) -> tf.data.Dataset:
    """Returns what `iterate()` yields as a tf.data.

    Args:
      iterate: called for every pass.
      signature: what it yields, as of `tf.data.Dataset.from_generator`.
      faults: an error that it raises is put there; TensorFlow raises one of its own then.
    """

    def generate() -> Iterator:
        try:
            yield from iterate()
        except Exception as error:
            faults.append(error)
            raise

    return tf.data.Dataset.from_generator(generate, output_signature=signature)


@contextlib.contextmanager
def naming_faults(source: FeatureSource, faults: list[Exception]) -> Iterator[None]:
    """Returns a context in which an error of TensorFlow while it reads is raised as the source's.

    Args:
      source: of the rows.
      faults: what its `dataset` or `shuffled` was given.
    """
    try:
        yield
    except tf.errors.OpError as error:
        raise (faults[0] if faults else source.reading_fault()) from error

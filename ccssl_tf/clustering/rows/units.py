"""Units in which numbers of any size and offset keep their differences as float32.

k-means computes in float32 and sums in float64. An array of float64 or integers may lie far from 0,
where float32 has no digits left for what tells its rows apart; and squares of very large or small
numbers leave the range of float32. So such rows are shifted, in their own type, and multiplied by a
power of two first, and results are given back in the units of the rows.
"""

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf

from ccssl_tf.clustering.rows.sources import ArraySource
from ccssl_tf.data.feature_source import FeatureSource, generated

# Numbers whose logarithm to base 2 lies within this distance of 0 are not multiplied.
_MAX_EXPONENT = 40
# Rows whose median is the shift, at most.
_SAMPLED_ROWS = 255


@dataclasses.dataclass(frozen=True)
class Units:
    """A row x becomes (x - shift) 2^exponent.

    Attributes:
      shift: [D] of the type of the rows; None: nothing is subtracted.
      exponent: int.
      dtype: of results in the units of the rows: float64, or float32 where the rows are no more
        precise.
    """

    shift: np.ndarray | None
    exponent: int
    dtype: np.dtype

    @classmethod
    def of(cls, rows: np.ndarray) -> "Units":
        """Returns units for rows [N, D] of any float or integer type; NaN and infinity are left.

        No number of two bytes is too large or too small.
        """
        is_exact = np.can_cast(rows.dtype, np.float32)
        if is_exact and rows.dtype.itemsize <= 2:
            return cls(None, 0, np.dtype(np.float32))
        # The median of some rows is a number of theirs, so that integers stay integers; and one
        # that a few outliers do not move.
        count = min(len(rows), _SAMPLED_ROWS)
        sample = rows[np.linspace(0, len(rows) - 1, count - (count + 1) % 2 or 1).astype(np.int64)]
        shift = None if is_exact else np.sort(sample, axis=0)[len(sample) // 2]
        if shift is not None and not np.isfinite(shift).all():
            shift = np.where(np.isfinite(shift), shift, 0).astype(rows.dtype)
        largest = 0.0
        for extreme in (rows.min(axis=0), rows.max(axis=0)):
            values = np.abs(_shifted(extreme, shift).astype(np.float64))
            largest = max(largest, float(values[np.isfinite(values)].max(initial=0)))
        exponent = int(np.frexp(largest)[1]) if largest else 0
        return cls(
            shift,
            -exponent if abs(exponent) > _MAX_EXPONENT else 0,
            np.dtype(np.float32 if is_exact else np.float64),
        )

    @property
    def are_those_of_the_rows(self) -> bool:
        """Whether rows stay as they are."""
        return self.shift is None and not self.exponent

    def to_float32(self, rows: np.ndarray) -> np.ndarray:
        """Returns rows [n, D] of any type, in these units, as float32."""
        shifted = _shifted(rows, self.shift)
        if self.exponent:
            shifted = np.ldexp(shifted.astype(np.float64), self.exponent)
        with np.errstate(over="ignore"):
            return shifted.astype(np.float32)

    def positions(self, vectors: np.ndarray) -> np.ndarray:
        """Returns vectors [n, D] float32 in the units of the rows."""
        values = self.lengths(vectors)
        return values if self.shift is None else values + self.shift.astype(np.float64)

    def lengths(self, values: np.ndarray) -> np.ndarray:
        """Returns lengths in the units of the rows."""
        if not self.exponent:
            return values.astype(self.dtype)
        with np.errstate(over="ignore", under="ignore"):
            return np.ldexp(values.astype(np.float64), -self.exponent).astype(self.dtype)

    def squares(self, value: float) -> float:
        """Returns a sum of squared lengths in the units of the rows; infinity beyond float64."""
        with np.errstate(over="ignore", under="ignore"):
            return float(np.ldexp(value, -2 * self.exponent))


def _shifted(rows: np.ndarray, shift: np.ndarray | None) -> np.ndarray:
    """Returns rows - shift; differences of integers that their type cannot hold are float64."""
    if shift is None:
        return rows
    if rows.dtype.kind in "iu" and rows.dtype.kind == shift.dtype.kind:
        extremes = [int(value) for part in (rows, shift) for value in (part.min(), part.max())]
        if max(extremes) - min(extremes) < 2**63:
            wide = np.dtype(f"{rows.dtype.kind}8")
            return (rows.astype(wide) - shift.astype(wide)).view(np.int64)
    with np.errstate(over="ignore", invalid="ignore"):
        return rows.astype(np.float64) - shift.astype(np.float64)


class UnitSource(FeatureSource):
    """The rows of an array in other units, converted whenever they are read."""

    in_memory = False

    def __init__(self, source: ArraySource, units: Units):
        """Args: source: of the rows; units: those they are given in."""
        self._source, self._units = source, units
        self.num_examples, self.dim, self.dtype = source.num_examples, source.dim, np.dtype("f4")
        self.num_bytes, self.bytes_per_pass = 4 * self.num_examples * self.dim, 0
        self.weights = source.weights

    def fingerprint(self) -> str:
        """Returns a digest of the rows, which decide about the units."""
        return self._source.fingerprint()

    def chunks(self, rows: int) -> Iterator[np.ndarray]:
        """Yields the rows in order as [rows, D] float32; the last chunk may have fewer."""
        return map(self._units.to_float32, self._source.chunks(rows))

    def blocks_holding(self, positions: np.ndarray) -> tuple[Iterable[np.ndarray], np.ndarray]:
        """Returns the rows at `positions` [n] as the one block, and where they are in it."""
        blocks, places = self._source.blocks_holding(positions)
        (array,) = blocks
        return [self._units.to_float32(array[places])], np.arange(len(places))

    def shuffled(
        self, generator: np.random.Generator, rows: int, skip: int, faults: list[Exception]
    ) -> tf.data.Dataset:
        """See `FeatureSource`; all rows are permuted together."""
        order = generator.permutation(self.num_examples)[skip:]

        def windows() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for start in range(0, len(order), rows):
                positions = order[start : start + rows]
                (block,), _ = self.blocks_holding(np.sort(positions))
                yield positions, block[np.argsort(np.argsort(positions))]

        return generated(windows, self.shuffled_spec(), faults)

    def not_finite(self, position: int) -> Exception:
        """Returns the array's error for a row that is not finite."""
        return self._source.not_finite(position)

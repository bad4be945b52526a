"""Copies of rows of any type as float32 and float64, in memory that is used again and again."""

import numpy as np

# Rows that are converted at a time, so that they stay in the processor's cache.
_CONVERTED_ROWS = 128
# The float32 of each of the 65,536 float16 bit patterns.
_FLOAT32_OF_FLOAT16 = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)


def as_float32(rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Returns rows [n, D] of any type as float32.

    Args:
      rows: what to convert.
      out: [n, D] float32 to write into. Without it the result is `rows` itself if that is float32
        already, else new memory.
    """
    if rows.dtype != np.float16:
        if out is None:
            return rows.astype(np.float32, copy=False)
        np.copyto(out, rows, casting="unsafe")
        return out
    out = np.empty(rows.shape, np.float32) if out is None else out
    # A table is read because NumPy's conversion works out number by number, and takes five times as
    # long where zeros are among them.
    for at in range(0, len(rows), _CONVERTED_ROWS):
        some = slice(at, at + _CONVERTED_ROWS)
        np.take(_FLOAT32_OF_FLOAT16, rows[some].view(np.uint16), out=out[some], mode="clip")
    return out


def as_float64(rows: np.ndarray) -> np.ndarray:
    """Returns rows [n, D] of any type as float64, in new memory."""
    return (as_float32(rows) if rows.dtype == np.float16 else rows).astype(np.float64)


class Gathered:
    """Memory for float32 copies of rows; to allocate it for every copy costs more than to copy."""

    def __init__(self, num_rows: int, dim: int):
        """Args: num_rows: number of rows that are copied at a time, at most; dim: D."""
        self._memory = np.empty([num_rows, dim], np.float32)

    def first(self, count: int) -> np.ndarray:
        """Returns the memory of the first `count` rows, [count, D]."""
        return self._memory[:count]

    def take(self, rows: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Returns the rows [W, D] at `index` [n] as [n, D] float32, valid until the next call."""
        out = self.first(len(index))
        if rows.dtype == np.float32:
            # In its other modes `np.take` checks the indices first, and makes a copy for that.
            return np.take(rows, index, axis=0, out=out, mode="clip")
        return as_float32(rows[index], out)

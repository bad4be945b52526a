"""The rows of a source as arrays whose rows are worked on in any order.

Rows that fit the memory are one window, others follow each other in windows of equal size.
"""

from collections.abc import Callable, Iterator

import numpy as np

from ccssl_tf.clustering.rows.chunk_reader import fits_as_float32
from ccssl_tf.clustering.rows.part_source import PartSource
from ccssl_tf.clustering.rows.row_copies import as_float32
from ccssl_tf.data.feature_source import FeatureSource

# Bytes that are read at a time where all rows are kept, and copied to their place among them.
_COPIED_BYTES = 64 << 20
# Where rows are not kept, a window is this fraction of the memory, 1 / 8, but no more than so many
# bytes: the source reads the next window ahead, and bounds and centroids need memory, too.
_MEMORY_FRACTION = 8
_MAX_WINDOW_BYTES = 512 << 20
_MIN_WINDOW_ROWS, _MAX_WINDOW_ROWS = 64, 1 << 16
# Kept rows are given out so many at a time, because a pass can be interrupted, and is continued,
# only between two windows.
_KEPT_ROWS = 1 << 18


class Windows:
    """Reads a source pass after pass, in the same windows each time.

    Attributes:
      bytes_read: int, bytes that the latest pass read from the source; 0 if the rows were kept.
    """

    def __init__(
        self,
        source: FeatureSource,
        memory_bytes: int,
        check_stop: Callable[[], None] = lambda: None,
    ):
        """Sets up the reading.

        Args:
          source: of the rows.
          memory_bytes: rows of no more bytes than this are read once and kept; those of an array
            are kept without a copy, however many they are.
          check_stop: called before each window; may raise.
        """
        self._source, self._check_stop = source, check_stop
        self._kept: np.ndarray | None = None
        self._keep = source.in_memory or source.num_bytes <= memory_bytes
        self._keep_float32 = fits_as_float32(source, memory_bytes)
        size = (
            _COPIED_BYTES
            if self._keep
            else min(_MAX_WINDOW_BYTES, memory_bytes // _MEMORY_FRACTION)
        )
        self._rows = int(
            np.clip(
                size // (source.dim * source.dtype.itemsize), _MIN_WINDOW_ROWS, _MAX_WINDOW_ROWS
            )
        )
        self.bytes_read = 0

    def from_row(self, first: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (position of the first row, rows [n, D]) of the windows from row `first` on.

        Args:
          first: 0, or the position of the first row of a window.

        Raises:
          InputError: there are more or fewer rows than the source said.
        """
        self.bytes_read = 0 if self._kept is not None else self._source.bytes_per_pass
        if self._keep:
            self._check_stop()
            if self._kept is None:
                self._kept = self._all_rows()
            kept = self._kept
            yield from (
                (start, kept[start : start + _KEPT_ROWS])
                for start in range(first, len(kept), _KEPT_ROWS)
            )
        elif first < self._source.num_examples:
            yield from self._read(first)

    def _all_rows(self) -> np.ndarray:
        if self._source.in_memory:
            return next(iter(self._source.chunks(self._source.num_examples)))
        rows = np.empty(
            [self._source.num_examples, self._source.dim],
            np.float32 if self._keep_float32 else self._source.dtype,
        )
        for start, window in self._read(0):
            place = rows[start : start + len(window)]
            if self._keep_float32:
                as_float32(window, place)
            else:
                place[:] = window
        return rows

    def _read(self, first: int) -> Iterator[tuple[int, np.ndarray]]:
        count, end = self._source.num_examples, first
        source = PartSource(self._source, slice(first, count)) if first else self._source
        for chunk in source.chunks(self._rows):
            self._check_stop()
            start, end = end, end + len(chunk)
            if end > count:
                break
            yield start, chunk
        if end != count:
            raise self._source.other_count(end)

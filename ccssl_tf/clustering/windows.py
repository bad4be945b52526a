"""The rows of a source as arrays that are worked on in any order: all of them if they fit the
memory, else one window after another.
"""

import numpy as np

from ccssl_tf.clustering import sources
from ccssl_tf.clustering.distances import as_float32
from ccssl_tf.runs.errors import InputError

_COPY_BYTES = 64 << 20
# A window, what is read ahead of it and the copy that is made of it share the memory with the rest.
_SHARE = 8
_MAX_BYTES = 512 << 20
# Rows in memory are given out so many at a time: a pass over more can be interrupted between them
# and continued there.
_KEPT_ROWS = 1 << 18


class Windows:
    """Reads a source pass after pass; the windows are the same on each."""

    def __init__(self, source, memory_bytes: int, check_stop=lambda: None):
        """Sets up the reading.

        Args:
          source: of rows.
          memory_bytes: if the source is no larger, its rows are read once, into one window. An
            array is never copied.
          check_stop: called before each window; may raise.
        """
        self._source, self._check_stop, self._kept = source, check_stop, None
        self._keep = source.in_memory or source.num_bytes <= memory_bytes
        self._keep_float32 = sources.fits_as_float32(source, memory_bytes)
        window = _COPY_BYTES if self._keep else min(_MAX_BYTES, memory_bytes // _SHARE)
        self._rows = int(np.clip(window // (source.dim * source.dtype.itemsize), 64, 1 << 16))
        self.bytes_read = 0

    def from_row(self, first: int):
        """Yields (position of the first row, rows [n, D]) from row `first` on, which is 0 or the
        first of a window.

        Raises:
          InputError: there are more or fewer rows than the source said.
        """
        self.bytes_read = 0 if self._kept is not None else self._source.bytes_per_pass
        if self._keep:
            self._check_stop()
            self._kept = self._all_rows() if self._kept is None else self._kept
            yield from (
                (start, self._kept[start : start + _KEPT_ROWS])
                for start in range(first, len(self._kept), _KEPT_ROWS)
            )
        elif first < self._source.num_examples:
            yield from self._read(first)

    def _all_rows(self):
        if self._source.in_memory:
            return next(iter(self._source.chunks(self._source.num_examples)))
        rows = np.empty(
            [self._source.num_examples, self._source.dim],
            np.float32 if self._keep_float32 else self._source.dtype,
        )
        for start, window in self._read(0):
            own = rows[start : start + len(window)]
            if self._keep_float32:
                as_float32(window, own)
            else:
                own[:] = window
        return rows

    def _read(self, first):
        count, end = self._source.num_examples, first
        source = sources.PartSource(self._source, slice(first, count)) if first else self._source
        for chunk in source.chunks(self._rows):
            self._check_stop()
            start, end = end, end + len(chunk)
            if end > count:
                break
            yield start, chunk
        if end != count:
            raise InputError(
                f"features: a pass gave {end} rows or more instead of {count}; every pass must "
                "give the same rows"
            )

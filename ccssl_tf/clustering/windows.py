"""The rows of a source as tensors that are worked on in any order: all of them if they fit the memory, else one window after another."""

import numpy as np
import tensorflow as tf

from ccssl_tf.errors import InputError

_COPY_BYTES = 64 << 20
# A window, what is read ahead of it and the copy that is made of it share the memory with the rest.
_SHARE = 8
_MAX_BYTES = 512 << 20


class Windows:
    """Reads a source pass after pass; the windows are the same on each."""

    def __init__(self, source, memory_bytes: int, check_stop=lambda: None):
        """Sets up the reading.

        Args:
          source: of rows.
          memory_bytes: if the source is no larger, its rows are read once, into one window.
          check_stop: called before each window; may raise.
        """
        self._source, self._check_stop, self._kept = source, check_stop, None
        self._row_bytes = source.dim * source.dtype.itemsize
        self._keep = source.num_bytes <= memory_bytes
        window = min(_MAX_BYTES, memory_bytes // _SHARE)
        self._rows = int(np.clip((_COPY_BYTES if self._keep else window) // self._row_bytes, 64, 1 << 16))
        self._tensor_dtype = tf.float16 if source.dtype == np.float16 else tf.float32
        self.bytes_read = 0

    def __iter__(self):
        """Yields (position of the first row, rows [n, D], a float16 or float32 tensor).

        Raises:
          InputError: there are more or fewer rows than the source said.
        """
        self.bytes_read = 0 if self._source.in_memory or self._kept is not None else self._source.num_bytes
        if self._keep:
            self._check_stop()
            self._kept = self._all_rows() if self._kept is None else self._kept
            yield 0, self._kept
        else:
            yield from self._tensors()

    def _all_rows(self):
        shape = [self._source.num_examples, self._source.dim]
        rows = tf.Variable(tf.zeros(shape, self._tensor_dtype), trainable=False)
        for start, window in self._tensors():
            rows[start : start + len(window)].assign(window)
        return rows.read_value()

    def _tensors(self):
        count, end = self._source.num_examples, 0
        for chunk in self._source.chunks(self._rows):
            self._check_stop()
            start, end = end, end + len(chunk)
            if end > count:
                break
            yield start, tf.convert_to_tensor(chunk.astype(self._tensor_dtype.as_numpy_dtype, copy=False))
        if end != count:
            raise InputError(f"features: a pass gave {end} rows or more instead of {count}; every pass must give the same rows")

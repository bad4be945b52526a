"""The rows of a split's features, in memory or on disk, as batches in the order of an epoch.

The order of training is that of the images: on disk shards are permuted, then rows inside windows
of whole shards, both functions of (seed, epoch). An epoch that is resumed skips whole windows
unread. The order of evaluation is the files'.
"""

import abc
from collections.abc import Callable, Iterator

import numpy as np

from ccssl_tf.data.feature_directory import DirectorySource
from ccssl_tf.data.feature_source import naming_faults
from ccssl_tf.data.pipeline import Epoch

# A window of shuffled rows; two are in memory at a time.
WINDOW_BYTES = 256 * 2**20

# Index [n] int64, features [n, D] float16 or float32 and label [n] int64 of n rows.
Rows = tuple[np.ndarray, np.ndarray, np.ndarray]


class FeatureRows(abc.ABC):
    """All rows of a split."""

    @abc.abstractmethod
    def batches(self, epoch: Epoch) -> Callable[[], Iterator[Rows]]:
        """Returns a function that yields the batches of an epoch, from its first one on; the last
        batch may be smaller.
        """


class RowsInMemory(FeatureRows):
    """Rows in arrays."""

    def __init__(self, rows: Rows):
        """Takes the rows in the order of the files."""
        self._rows = rows

    def batches(self, epoch):
        """Batches of rows permuted all together."""
        total = len(self._rows[0])
        order = np.arange(total)
        if epoch.training:
            order = np.random.default_rng([epoch.seed, epoch.number]).permutation(total)

        def cut():
            for start in range(_first_row(epoch), total, epoch.batch_size):
                chosen = order[start : start + epoch.batch_size]
                yield tuple(values[chosen] for values in self._rows)

        return cut


class RowsOnDisk(FeatureRows):
    """Rows in a feature directory."""

    def __init__(self, directory, indices, labels):
        """Opens the directory.

        Args:
          directory: path of what `extract_features` wrote.
          indices: [N] int64, indices of the images in the order of the rows.
          labels: [N] int64, their labels.
        """
        self._source, self._indices, self._labels = DirectorySource(directory), indices, labels

    def batches(self, epoch):
        """Batches of rows permuted inside windows of shards."""
        if not epoch.training:
            return lambda: self._in_order(epoch)
        return lambda: rebatched(self._shuffled(epoch), epoch.batch_size)

    def _in_order(self, epoch):
        batch_size, start = epoch.batch_size, 0
        for features in self._source.chunks(batch_size):
            rows = range(start, start + len(features))
            if start >= _first_row(epoch):
                yield (
                    self._indices[rows.start : rows.stop],
                    features,
                    self._labels[rows.start : rows.stop],
                )
            start = rows.stop

    def _shuffled(self, epoch):
        row_bytes = self._source.dim * self._source.dtype.itemsize
        faults = []
        windows = self._source.shuffled(
            np.random.default_rng([epoch.seed, epoch.number]),
            max(WINDOW_BYTES // row_bytes, 1),
            _first_row(epoch),
            faults,
        )
        with naming_faults(self._source, faults):
            for positions, features in windows.as_numpy_iterator():
                yield self._indices[positions], features, self._labels[positions]


def _first_row(epoch):
    # Evaluation has no first batch: see `Epoch`.
    return epoch.first_batch * epoch.batch_size if epoch.training else 0


def rebatched(blocks, batch_size: int) -> Iterator[Rows]:
    """Cuts blocks of rows into batches; the remainder is left out."""
    rest = None
    for block in blocks:
        if rest is not None:
            block = tuple(np.concatenate(pair) for pair in zip(rest, block, strict=True))
        whole = len(block[0]) // batch_size * batch_size
        for start in range(0, whole, batch_size):
            yield tuple(values[start : start + batch_size] for values in block)
        rest = tuple(values[whole:] for values in block)

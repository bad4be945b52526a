"""The rows of a split's features, in memory or on disk, as batches in the order of an epoch.

The order of training is that of the images: on disk shards are permuted, then rows inside windows
of whole shards, both functions of (seed, epoch). An epoch that is resumed skips whole windows
unread. The order of evaluation is the files'.
"""

import abc
from collections.abc import Callable, Iterator

import numpy as np

from ccssl_tf.data.feature_directory import DirectorySource
from ccssl_tf.data.pipeline import Epoch

# A window of shuffled rows; two are in memory at a time.
WINDOW_BYTES = 256 * 2**20

# Index [n] int64, features [n, D] float16 and label [n] int64 of n rows.
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
        row_bytes = self._source.dim * self._source.dtype.itemsize
        windows = self._source.windows(
            np.random.default_rng([epoch.seed, epoch.number]), max(WINDOW_BYTES // row_bytes, 1)
        )
        skipped, first = _first_row(epoch), 0
        while first < len(windows) and skipped >= (size := sum(map(len, windows[first]))):
            skipped, first = skipped - size, first + 1
        return lambda: rebatched(self._shuffled(windows, first, epoch), epoch.batch_size, skipped)

    def _in_order(self, epoch):
        batch_size, start = epoch.batch_size, 0
        for features in self._source.chunks(batch_size):
            rows = range(start, start + len(features))
            if start >= _first_row(epoch):
                yield self._block([rows], features.astype(np.float16))
            start = rows.stop

    def _shuffled(self, windows, first, epoch):
        for number, features in enumerate(self._source.read_windows(windows, first), start=first):
            random = np.random.default_rng([epoch.seed, epoch.number, number])
            order = random.permutation(len(features))
            index, features, label = self._block(windows[number], features)
            yield index[order], features[order], label[order]

    def _block(self, parts, features):
        index, label = (
            np.concatenate([values[part.start : part.stop] for part in parts])
            for values in (self._indices, self._labels)
        )
        return index, features, label


def _first_row(epoch):
    # Evaluation has no first batch: see `Epoch`.
    return epoch.first_batch * epoch.batch_size if epoch.training else 0


def rebatched(blocks, batch_size: int, skipped: int) -> Iterator[Rows]:
    """Cuts blocks of rows into batches; `skipped` rows of the first block and the remainder are
    left out.
    """
    rest = None
    for block in blocks:
        block = tuple(values[skipped:] for values in block)
        skipped = 0
        if rest is not None:
            block = tuple(np.concatenate(pair) for pair in zip(rest, block, strict=True))
        whole = len(block[0]) // batch_size * batch_size
        for start in range(0, whole, batch_size):
            yield tuple(values[start : start + batch_size] for values in block)
        rest = tuple(values[whole:] for values in block)

"""The rows of a feature directory: shards of TFRecords, read in order with the following ones read
ahead.
"""

import pathlib

import numpy as np
import tensorflow as tf

from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.data import records
from ccssl_tf.data.datasets import fixed
from ccssl_tf.runs.errors import CorruptArtifactError, InputError

_READ_AHEAD_BYTES = 256 << 20


class DirectorySource:
    """The shards of a feature directory, read in order with the following shards read ahead."""

    in_memory = False

    def __init__(self, directory):
        """Args: directory: what `ccssl_tf.extract` wrote, holding one split."""
        self.directory = pathlib.Path(directory)
        self.manifest = manifest_lib.Manifest.read(directory, "features")
        if len(self.manifest.splits) != 1:
            raise InputError(
                f"{directory}: holds the splits {sorted(self.manifest.splits)}; features of one "
                "split are needed"
            )
        self.split = next(iter(self.manifest.splits))
        self._shards = self.manifest.shards(self.split)
        self.num_examples = self.manifest.num_examples(self.split)
        self.dim, self.dtype = int(self.manifest.info["dim"]), np.dtype(self.manifest.info["dtype"])
        self.num_bytes = self.bytes_per_pass = sum(shard.num_bytes for shard in self._shards)
        if not self.num_examples:
            raise InputError(f"{directory}: holds no features; there is nothing to cluster")

    def fingerprint(self) -> str:
        """Returns the manifest's fingerprint."""
        return self.manifest.fingerprint()

    def chunks(self, rows: int):
        """Yields the rows in order as [<= rows, D] of the stored type; raises CorruptArtifactError
        naming a damaged shard.
        """
        return self._blocks(self._shards, rows)

    def blocks_holding(self, positions: np.ndarray):
        """Like that of an array; only the shards that hold the rows are read."""
        ends = np.cumsum([shard.num_examples for shard in self._shards])
        needed, which = np.unique(
            np.searchsorted(ends, positions, side="right"), return_inverse=True
        )
        shards = [self._shards[number] for number in needed]
        counts = np.array([shard.num_examples for shard in shards])
        moved = (ends[needed] - counts) - (np.cumsum(counts) - counts)
        return self._blocks(shards), positions - moved[which]

    def windows(self, generator, rows: int) -> list[list[range]]:
        """Returns the positions of the rows of each window: shards in a random order, put together
        while they have at most `rows` rows.
        """
        counts = np.array([shard.num_examples for shard in self._shards])
        ends, windows, room = np.cumsum(counts), [], 0
        for shard in generator.permutation(np.flatnonzero(counts)):
            if not windows or counts[shard] > room:
                windows.append([])
                room = rows
            windows[-1].append(range(int(ends[shard] - counts[shard]), int(ends[shard])))
            room -= counts[shard]
        return windows

    def read_windows(self, windows: list[list[range]], first: int):
        """Yields the rows [w, D] of `windows`, what `windows()` returned, from number
        `first` on.
        """
        ends = np.cumsum([shard.num_examples for shard in self._shards])
        shards = [
            self._shards[np.searchsorted(ends, part.start, side="right")]
            for window in windows[first:]
            for part in window
        ]
        blocks = self._blocks(shards) if shards else iter(())
        for window in windows[first:]:
            rows, count = np.empty([sum(map(len, window)), self.dim], self.dtype), 0
            while count < len(rows):
                block = next(blocks, None)
                if block is None or count + len(block) > len(rows):
                    raise self._damage()
                rows[count : count + len(block)] = block
                count += len(block)
            yield rows

    def indices(self) -> np.ndarray:
        """Returns the image index of every row, in order: [N] int64."""
        return np.concatenate(
            [index.numpy() for _, index in self._checked(self._dataset(self._shards))]
        )

    def not_finite(self, position: int) -> Exception:
        """Returns the error to raise for a row that is not finite: it names shard and row."""
        for shard in self._shards:
            if position < shard.num_examples:
                path = self.directory / shard.name
                return CorruptArtifactError(
                    f"{path}: row {position} holds a NaN or an infinity; extract the features again"
                )
            position -= shard.num_examples
        raise IndexError(position)

    def _dataset(self, shards):
        paths = [str(self.directory / shard.name) for shard in shards]
        largest = max(shard.num_bytes for shard in shards)
        parallel = int(np.clip(_READ_AHEAD_BYTES // max(largest, 1), 1, min(4, len(shards))))

        def parse(serialized):
            index, rows = records.parse_features(serialized, self.dim, self.dtype.name)
            return rows, index

        # A block length no shard reaches keeps the order of the shards while the next ones are read
        # ahead.
        return fixed(tf.data.Dataset.from_tensor_slices(paths)).interleave(
            lambda path: tf.data.TFRecordDataset(path).map(parse),
            cycle_length=parallel,
            block_length=max(shard.num_examples for shard in shards),
            num_parallel_calls=parallel,
            deterministic=True,
        )

    def _blocks(self, shards, rows=None):
        """Yields the rows of `shards`, as they are stored or in chunks of `rows`."""
        dataset, count = self._dataset(shards), 0
        for block, _ in self._checked(
            dataset.rebatch(rows).prefetch(2) if rows else dataset.prefetch(2)
        ):
            count += len(block)
            yield np.asarray(block)  # Unlike block.numpy(), no copy.
        if count != sum(shard.num_examples for shard in shards):
            raise self._damage()

    def _checked(self, dataset):
        try:
            yield from dataset
        except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
            raise self._damage() from error

    def _damage(self):
        """Looks for the damaged shard; called only when a pass has failed."""
        for shard in self._shards:
            path, count = self.directory / shard.name, 0
            try:
                for serialized in records.read_shard(path):
                    count += len(records.parse_features(serialized, self.dim, self.dtype.name)[0])
            except CorruptArtifactError as error:
                return error
            except tf.errors.InvalidArgumentError:
                return CorruptArtifactError(
                    f"{path}: after row {count} comes no block of {self.dim} features; extract the "
                    "features again"
                )
            if count != shard.num_examples:
                return CorruptArtifactError(
                    f"{path}: {count} rows instead of {shard.num_examples}; extract the features "
                    "again"
                )
        return CorruptArtifactError(
            f"{self.directory}: the shards do not hold the {self.num_examples} rows of the manifest"
        )

"""The rows of a feature directory: shards of TFRecords, written in records of 128 rows and read
in order, the next shards ahead.
"""

import os
import pathlib
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf

from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.data import records
from ccssl_tf.data.datasets import fixed
from ccssl_tf.data.feature_source import FeatureSource, generated
from ccssl_tf.runs.errors import CorruptArtifactError, InputError
from ccssl_tf.runs.files import MANIFEST_NAME
from ccssl_tf.runs.json_files import form_fault

_ORIGIN = dict(data_dir=str, images_fingerprint=str, extractor=dict)
ROWS_PER_RECORD = 128
# Up to four shards are open at a time, fewer where together they have more bytes than this.
_READ_AHEAD_BYTES = 256 << 20


class DirectorySource(FeatureSource):
    """The shards of a feature directory, read in order while the next shards are read ahead.

    Attributes (beside those of `FeatureSource`):
      directory: pathlib.Path of it.
      manifest: its `Manifest`.
      split: str, the name of the one split it holds.
    """

    in_memory = False

    def __init__(self, directory: str | os.PathLike):
        """Reads the manifest.

        Args:
          directory: path of what `ccssl_tf.extract` wrote.

        Raises:
          InputError: there is no such directory, or it holds several splits or no rows.
          CorruptArtifactError: the manifest or a shard is missing or has another size.
        """
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

    def check_origin(self):
        """Raises CorruptArtifactError where the manifest does not say which images the rows are of
        and what made them; rows alone can be read without.
        """
        if fault := form_fault(self.manifest.info, _ORIGIN, "info"):
            raise CorruptArtifactError(
                f"{self.directory / MANIFEST_NAME}: damaged ({fault}); extract the features again"
            )

    def fingerprint(self) -> str:
        """Returns the manifest's fingerprint."""
        return self.manifest.fingerprint()

    def chunks(self, rows: int) -> Iterator[np.ndarray]:
        """Yields the rows in order as [rows, D] of the stored type; the last chunk may have fewer.

        Raises:
          CorruptArtifactError: a shard is damaged; the message names it.
        """
        return self._blocks(self._shards, rows)

    def blocks_holding(self, positions: np.ndarray) -> tuple[Iterable[np.ndarray], np.ndarray]:
        """Returns the rows of the shards that hold rows at `positions`, and these in there."""
        ends = np.cumsum([shard.num_examples for shard in self._shards])
        needed, which = np.unique(
            np.searchsorted(ends, positions, side="right"), return_inverse=True
        )
        shards = [self._shards[number] for number in needed]
        counts = np.array([shard.num_examples for shard in shards])
        moved = (ends[needed] - counts) - (np.cumsum(counts) - counts)
        return self._blocks(shards), positions - moved[which]

    def dataset(self, rows: int, faults: list[Exception]) -> tf.data.Dataset:
        """See `FeatureSource`; TensorFlow reads the shards."""
        del faults
        return self._dataset(self._shards).map(lambda rows, _: rows).rebatch(rows)

    def shuffled(
        self, generator: np.random.Generator, rows: int, skip: int, faults: list[Exception]
    ) -> tf.data.Dataset:
        """See `FeatureSource`; whole shards are read in a random order, by TensorFlow.

        As many make up a window as have `rows` rows at most; a shard of more is one of its own.
        """
        counts = np.array([shard.num_examples for shard in self._shards])
        starts = np.cumsum(counts) - counts
        windows: list[list[int]] = []
        room = 0
        for shard in generator.permutation(np.flatnonzero(counts)):
            if not windows or counts[shard] > room:
                windows.append([])
                room = rows
            windows[-1].append(shard)
            room -= counts[shard]
        orders = [generator.permutation(counts[window].sum()) for window in windows]

        def plans() -> Iterator[tuple[list[str], np.ndarray, np.ndarray]]:
            wanted = skip
            for window, order in zip(windows, orders, strict=True):
                if wanted < len(order):
                    paths = [str(self.directory / self._shards[shard].name) for shard in window]
                    positions = np.concatenate(
                        [np.arange(counts[shard]) + starts[shard] for shard in window]
                    )
                    yield paths, order[wanted:], positions[order[wanted:]]
                wanted = max(wanted - len(order), 0)

        def read(
            paths: tf.Tensor, order: tf.Tensor, positions: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor]:
            records = self._records(paths, self._shards).map(lambda rows, _: rows)
            window = records.rebatch(self.num_examples).get_single_element()
            return positions, tf.gather(window, order)

        vector = tf.TensorSpec([None], tf.int64)
        plan = generated(plans, (tf.TensorSpec([None], tf.string), vector, vector), faults)
        return plan.map(read).prefetch(1)

    def reading_fault(self) -> Exception:
        """Returns the error that names the damaged shard."""
        return self._damage()

    def indices(self) -> np.ndarray:
        """Returns the image index of every row, in order: [N] int64."""
        return np.concatenate(
            [index.numpy() for _, index in self._checked(self._dataset(self._shards))]
        )

    def indexed_blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields the rows in order, [n, D] of the stored dtype, with their image indices, [n]."""
        for rows, index in self._checked(self._dataset(self._shards)):
            yield rows.numpy(), index.numpy()

    def not_finite(self, position: int) -> Exception:
        """Returns the error to raise for a row that is not finite; it names shard and row."""
        for shard in self._shards:
            if position < shard.num_examples:
                path = self.directory / shard.name
                return CorruptArtifactError(
                    f"{path}: row {position} holds a NaN, an infinity or a number whose square is "
                    "beyond float32 (1e19 is); extract the features again, or scale them"
                )
            position -= shard.num_examples
        raise IndexError(position)

    def _dataset(self, shards: list[manifest_lib.Shard]) -> tf.data.Dataset:
        """Returns pairs of rows [n, D] and their image indices [n], in order."""
        return self._records([str(self.directory / shard.name) for shard in shards], shards)

    def _records(
        self, paths: tf.Tensor | list[str], shards: list[manifest_lib.Shard]
    ) -> tf.data.Dataset:
        """Returns what `_dataset` does of the files at `paths`, which are some of `shards`."""
        largest = max(shard.num_bytes for shard in shards)
        parallel = int(np.clip(_READ_AHEAD_BYTES // max(largest, 1), 1, min(4, len(shards))))

        def parse(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            index, rows = records.parse_features(serialized, self.dim, self.dtype.name)
            return rows, index

        # No shard has more records than one block takes: so the order of the shards is kept, while
        # `interleave` reads the next ones ahead.
        return fixed(tf.data.Dataset.from_tensor_slices(paths)).interleave(
            lambda path: tf.data.TFRecordDataset(path).map(parse),
            cycle_length=parallel,
            block_length=max(shard.num_examples for shard in shards),
            num_parallel_calls=parallel,
            deterministic=True,
        )

    def _blocks(
        self, shards: list[manifest_lib.Shard], rows: int | None = None
    ) -> Iterator[np.ndarray]:
        """Yields the rows of `shards` in blocks: those of the records, or `rows` rows each."""
        dataset, count = self._dataset(shards), 0
        for block, _ in self._checked(
            dataset.rebatch(rows).prefetch(2) if rows else dataset.prefetch(2)
        ):
            count += len(block)
            yield np.asarray(block)  # This shares the tensor's memory; block.numpy() copies it.
        if count != sum(shard.num_examples for shard in shards):
            raise self._damage()

    def _checked(self, dataset: tf.data.Dataset) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
        try:
            yield from dataset
        except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
            raise self._damage() from error

    def _damage(self) -> Exception:
        """Returns the error that names the damaged shard; called only after a pass has failed."""
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


def feature_records(
    batches: Iterable[tuple[np.ndarray, np.ndarray]],
) -> Iterator[bytes]:
    """Yields serialised records of 128 rows, the last one smaller: the contents of one shard.

    Args:
      batches: of (index [n] int64, rows [n, D] float16 or float32).
    """
    indices, features = np.empty(0, np.int64), np.empty(0)
    for index, rows in batches:
        indices, features = (
            np.append(indices, index).astype(np.int64),
            np.concatenate([features, rows]) if len(features) else rows,
        )
        full = len(indices) // ROWS_PER_RECORD * ROWS_PER_RECORD
        for start in range(0, full, ROWS_PER_RECORD):
            yield records.feature_example(
                indices[start : start + ROWS_PER_RECORD], features[start : start + ROWS_PER_RECORD]
            )
        indices, features = indices[full:], features[full:]
    if len(indices):
        yield records.feature_example(indices, features)


def read_features(directory: str | os.PathLike) -> np.ndarray:
    """Returns the features of every image, by image index: [N, D] of the stored dtype (float32 or
    float16), all in memory; `KMeans` takes the directory itself and needs no more than a part.

    Args:
      directory: path of what `ccssl_tf.extract` wrote.

    Raises:
      InputError: there is no such directory, or it holds several splits or no rows.
      CorruptArtifactError: a damaged shard, or an index missing or there twice.

    >>> rows = records.feature_example(np.array([1, 0]), np.float32([[3, 4], [1, 2]]))
    >>> shard = records.write_shard(
    ...     pathlib.Path(workdir, "train-00000-of-00001.tfrecord"), [rows], num_examples=2
    ... )
    >>> info = dict(dim=2, dtype="float32")
    >>> manifest_lib.Manifest("features", {"train": [shard]}, info).write(workdir)
    >>> read_features(workdir)
    array([[1., 2.],
           [3., 4.]], dtype=float32)
    """
    source = DirectorySource(directory)
    features = np.empty([source.num_examples, source.dim], source.dtype)
    times_read = np.zeros(source.num_examples, np.int64)
    for rows, indices in source.indexed_blocks():
        if indices.min() < 0 or indices.max() >= len(features):
            raise source.reading_fault()
        features[indices] = rows
        np.add.at(times_read, indices, 1)
    if (times_read != 1).any():
        raise source.reading_fault()
    return features

"""Frozen features computed once, of central crops: in memory where they fit, else in shards on
disk, one for each image shard.

On disk ImageNet's 47,232 numbers a photo take 121 GB as float16. Training order is that of the
images: shards are permuted, rows inside windows of whole shards, both functions of (seed, epoch); a
resumed run skips whole windows unread.
"""

import pathlib
import shutil

import numpy as np
import tensorflow as tf

from ccssl_tf.data import image_ops, labels
from ccssl_tf.data.datasets import fixed, serialized_records
from ccssl_tf.data.feature_directory import DirectorySource
from ccssl_tf.data.image_facts import read_image_facts
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.features import extract_features
from ccssl_tf.runs import machine, signals
from ccssl_tf.runs.errors import CorruptArtifactError, InputError, ResourceError
from ccssl_tf.runs.files import atomic_file
from ccssl_tf.runs.progress import Progress

# A window of shuffled rows; two are in memory at a time.
WINDOW_BYTES = 256 * 2**20
# float16 holds what linear classifiers need; larger values are clipped to its range.
_LARGEST = 65504


class FeatureCache:
    """The features of every split asked for, as batches of `features`, `label`, `index` and
    `weight`.
    """

    def __init__(
        self,
        compute,
        *,
        dim,
        describe,
        data_dir,
        image_size,
        num_classes,
        directory,
        memory_bytes,
        batch_size,
        strategy,
    ):
        """Sets up; nothing is computed yet.

        Args:
          compute: maps images [B, S, S, 3] uint8 to features [B, D] float32.
          dim: D.
          describe: JSON object that says which features these are: others found in the directory
            are refused.
          data_dir: image shards.
          image_size: S, pixels.
          num_classes: labels outside of [0, num_classes) are refused.
          directory: where shards are written; None to refuse what does not fit in memory.
          memory_bytes: up to which a split is kept in memory.
          batch_size: images computed at a time.
          strategy: whose workers share the shards.
        """
        self._compute, self.dim, self._description = (
            tf.function(compute, autograph=False),
            dim,
            describe,
        )
        self._data_dir, self._image_size, self._num_classes = data_dir, image_size, num_classes
        self._directory = directory and pathlib.Path(directory)
        self._memory_bytes, self._batch_size, self._strategy = memory_bytes, batch_size, strategy
        self._manifest = Manifest.read(data_dir, "images")
        self._splits = {}

    def batches(
        self, split: str, batch_size: int, training: bool, epoch_seed, first_batch: int = 0
    ) -> tf.data.Dataset:
        """Returns batches as `ccssl_tf.data.pipeline` would of the images: the remainder dropped in
        training, else filled up, weight 0.

        Raises:
          InputError: fewer images than a batch, or more features than fit.
          Interrupted: a signal arrived while they were computed; a later call continues.
        """
        total = self._manifest.num_examples(split)
        if training and total < batch_size:
            raise InputError(
                f"{self._data_dir}: split {split} has {total} images, fewer than one batch; use a "
                "smaller --batch_size"
            )
        if split not in self._splits:
            in_memory = total * self.dim * 2 <= self._memory_bytes
            self._splits[split] = (
                _Memory(self._in_memory(split)) if in_memory else self._on_disk(split, total)
            )
        stored = self._splits[split]
        count = total // batch_size if training else -(-total // batch_size)
        rows = stored.rows(batch_size, epoch_seed if training else None, first_batch)

        def filled():
            for number, (index, features, label) in enumerate(rows(), start=first_batch):
                if number == count:
                    return
                missing = batch_size - len(index)
                index, features, label = (
                    np.concatenate([x, np.repeat(x[:1], missing, 0)]) if missing else x
                    for x in (index, features, label)
                )
                weight = (np.arange(batch_size) < batch_size - missing).astype(np.float32)
                yield dict(features=features, label=label, index=index, weight=weight)

        signature = dict(
            features=tf.TensorSpec([batch_size, self.dim], tf.float16),
            label=tf.TensorSpec([batch_size], tf.int64),
            index=tf.TensorSpec([batch_size], tf.int64),
            weight=tf.TensorSpec([batch_size], tf.float32),
        )
        batches = fixed(tf.data.Dataset.from_generator(filled, output_signature=signature))
        return batches.apply(tf.data.experimental.assert_cardinality(count - first_batch)).prefetch(
            2
        )

    def _crops(self, split, paths):
        parse = labels.parse_labelled(self._data_dir, split, self._num_classes)

        @tf.autograph.experimental.do_not_convert
        def example(one):
            parsed = parse(one)
            return dict(
                image=image_ops.evaluation_crop(parsed["encoded"], self._image_size),
                index=parsed["index"],
                label=parsed["label"],
            )

        images = serialized_records(paths).map(example, num_parallel_calls=machine.num_cores())
        return images.batch(self._batch_size).prefetch(2)

    def _shard_paths(self, split):
        return [pathlib.Path(self._data_dir) / shard.name for shard in self._manifest.shards(split)]

    def _in_memory(self, split):
        total = self._manifest.num_examples(split)
        features, index, label = (
            np.empty([total, self.dim], np.float16),
            np.empty(total, np.int64),
            np.empty(total, np.int64),
        )
        progress, done = Progress(f"features of {split}", total, "images"), 0
        for batch in self._crops(split, self._shard_paths(split)):
            rows = slice(done, done + len(batch["index"]))
            features[rows] = self._stored(batch["image"])
            index[rows], label[rows] = batch["index"], batch["label"]
            done = rows.stop
            progress.update(done)
        if done != total:
            raise CorruptArtifactError(
                f"{self._data_dir}: split {split} has {done} images instead of the {total} of its "
                "manifest"
            )
        return index, features, label

    def _stored(self, images):
        return np.clip(self._compute(images).numpy(), -_LARGEST, _LARGEST)

    def _on_disk(self, split, total):
        gigabytes = total * self.dim * 2 / 2**30
        if self._directory is None:
            raise InputError(
                f"--cache_features: {total} images x {self.dim} numbers need {gigabytes:.1f} GB, "
                "more than --cache_memory_gb="
                f"{self._memory_bytes / 2**30:g}, and there is no --workdir for them; use "
                "--nocache_features or smaller --probe_grids"
            )
        directory = self._directory / split
        directory.mkdir(parents=True, exist_ok=True)
        found = (
            Manifest.read(directory, "features")
            if (directory / "manifest.json").is_file()
            else None
        )
        if found is None:
            here = sum(path.stat().st_size for path in directory.iterdir())
            free = shutil.disk_usage(directory).free / 2**30
            if free < gigabytes - here / 2**30:
                raise ResourceError(
                    f"{directory}: the features of split {split} need {gigabytes:.1f} GB, "
                    f"{free:.1f} are free there"
                )
            print(f"features of {split}: {gigabytes:.1f} GB in shards in {directory}", flush=True)
            with signals.stop_on_signal() as stopping:
                found = extract_features(
                    _Extractor(self),
                    self._data_dir,
                    split,
                    directory,
                    dtype="float16",
                    should_stop=stopping,
                    strategy=self._strategy,
                )
        wanted = dict(self._description, images_fingerprint=self._manifest.fingerprint(split))
        different = [name for name, value in wanted.items() if found.info.get(name) != value]
        if different:
            raise InputError(
                f"{directory}: features made with another {different[0]}; name another --workdir"
            )
        return _Shards(directory, *self._rows_of(split, directory / "rows.npy", total))

    def _rows_of(self, split, path, total):
        """Returns index and label of every row of the shards, [N] int64 each; kept in a file, so
        that images are read for them once.
        """
        if not path.is_file():
            facts = read_image_facts(self._data_dir, split, self._manifest.fingerprint(split))
            # Rows are in the order of the image records.
            index = np.lexsort((facts.places[:, 1], facts.places[:, 0]))
            with atomic_file(path) as temporary:
                np.save(temporary, np.stack([index, facts.labels[index]]))
        try:
            rows = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise CorruptArtifactError(
                f"{path}: cannot be read ({error}); remove it to have it written again"
            ) from error
        if rows.shape != (2, total):
            raise CorruptArtifactError(
                f"{path}: of {rows.shape[-1]} rows instead of {total}; remove it to have it "
                "written again"
            )
        return rows


class _Extractor:
    """The features as `extract_features` wants them."""

    def __init__(self, cache):
        self._cache, self.dim = cache, cache.dim

    def describe(self):
        return self._cache._description

    def inputs(self):
        return {}

    def batches(self, unused_data_dir, split, shards):
        for shard in shards:
            for batch in self._cache._crops(split, [self._cache._shard_paths(split)[shard]]):
                yield batch["index"].numpy(), self._cache._stored(batch["image"])


class _Memory:
    """Rows in memory: (index [N], features [N, D], label [N])."""

    def __init__(self, arrays):
        self._arrays = arrays

    def rows(self, batch_size, epoch_seed, first_batch):
        """Returns a function that yields batches of rows from `first_batch` on, in training order
        or, without a seed, the file's.
        """
        total = len(self._arrays[0])
        order = (
            np.arange(total)
            if epoch_seed is None
            else np.random.default_rng(list(epoch_seed)).permutation(total)
        )

        def batches():
            for start in range(first_batch * batch_size, total, batch_size):
                rows = order[start : start + batch_size]
                yield tuple(values[rows] for values in self._arrays)

        return batches


class _Shards:
    """Rows on disk."""

    def __init__(self, directory, indices, labels):
        """Args: indices, labels: [N], in the order of the rows."""
        self._source, self._indices, self._labels = DirectorySource(directory), indices, labels

    def rows(self, batch_size, epoch_seed, first_batch):
        """As that of `_Memory`; in training order inside windows of shards."""
        if epoch_seed is None:
            windows = [
                [range(start, min(start + batch_size, len(self._indices)))]
                for start in range(0, len(self._indices), batch_size)
            ]
            return lambda: (
                self._block(windows[first_batch + number], features.astype(np.float16))
                for number, features in enumerate(
                    self._skipped(self._source.chunks(batch_size), first_batch)
                )
            )
        row_bytes = self._source.dim * self._source.dtype.itemsize
        windows = self._source.windows(
            np.random.default_rng(list(epoch_seed)), max(WINDOW_BYTES // row_bytes, 1)
        )
        skipped, first = first_batch * batch_size, 0
        while first < len(windows) and skipped >= (size := sum(map(len, windows[first]))):
            skipped, first = skipped - size, first + 1
        return lambda: _rebatched(self._shuffled(windows, first, epoch_seed), batch_size, skipped)

    def _shuffled(self, windows, first, epoch_seed):
        for number, features in enumerate(self._source.read_windows(windows, first), start=first):
            order = np.random.default_rng([*epoch_seed, number]).permutation(len(features))
            index, features, label = self._block(windows[number], features)
            yield index[order], features[order], label[order]

    def _block(self, parts, features):
        index, label = (
            np.concatenate([values[part.start : part.stop] for part in parts])
            for values in (self._indices, self._labels)
        )
        return index, features, label

    @staticmethod
    def _skipped(chunks, count):
        for number, chunk in enumerate(chunks):
            if number >= count:
                yield chunk


def _rebatched(blocks, batch_size, skipped):
    """Cuts a stream of (index, features, label) into batches, the first `skipped` rows and the
    remainder left out.
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

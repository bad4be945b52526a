"""Frozen features computed once, of central crops: in memory where they fit, else in shards on
disk, one for each image shard (see `feature_rows` for the order they are read in).

On disk ImageNet's 47,232 numbers a photo take 121 GB as float16.
"""

import pathlib
import shutil

import numpy as np
import tensorflow as tf

from ccssl_tf.data import image_ops, labels
from ccssl_tf.data.datasets import fixed, serialized_records
from ccssl_tf.data.image_facts import read_image_facts
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.data.numpy_files import read_array
from ccssl_tf.data.pipeline import Epoch
from ccssl_tf.downstream.feature_rows import FeatureRows, RowsInMemory, RowsOnDisk
from ccssl_tf.features import extract_features
from ccssl_tf.features.precision import StoredPrecision, chosen_dtype
from ccssl_tf.runs import machine, signals
from ccssl_tf.runs.errors import CorruptArtifactError, InputError, ResourceError
from ccssl_tf.runs.files import atomic_file
from ccssl_tf.runs.progress import Progress
from ccssl_tf.task import Extractor


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
        self._splits: dict[str, FeatureRows] = {}
        # Of the features of all splits; chosen with the first.
        self._dtype: np.dtype | None = None

    def batches(self, split: str, epoch: Epoch) -> tf.data.Dataset:
        """Returns batches as `ccssl_tf.data.pipeline` would of the images: the remainder dropped in
        training, else filled up, weight 0.

        Raises:
          InputError: fewer images than a batch, or more features than fit.
          Interrupted: a signal arrived while they were computed; a later call continues.
        """
        total, batch_size = self._manifest.num_examples(split), epoch.batch_size
        if epoch.training and total < batch_size:
            raise InputError(
                f"{self._data_dir}: split {split} has {total} images, fewer than one batch; use a "
                "smaller --batch_size"
            )
        if split not in self._splits:
            self._dtype = self._dtype or np.dtype(chosen_dtype(self._computed(split)))
            in_memory = total * self.dim * self._dtype.itemsize <= self._memory_bytes
            self._splits[split] = (
                RowsInMemory(self._in_memory(split)) if in_memory else self._on_disk(split, total)
            )
        count = total // batch_size if epoch.training else -(-total // batch_size)
        first_batch = epoch.first_batch if epoch.training else 0
        rows = self._splits[split].batches(epoch)

        def filled():
            for number, (index, features, label) in enumerate(rows(), start=first_batch):
                if number == count:
                    return
                missing = batch_size - len(index)
                index, features, label = (
                    np.concatenate([x, np.repeat(x[:1], missing, 0)]) if missing else x
                    for x in (index, features, label)
                )
                features = features.astype(self._dtype, copy=False)
                weight = (np.arange(batch_size) < batch_size - missing).astype(np.float32)
                yield dict(features=features, label=label, index=index, weight=weight)

        signature = dict(
            features=tf.TensorSpec([batch_size, self.dim], self._dtype),
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

    def _computed(self, split):
        """Yields the features of a split as rows [n, D] float32."""
        for batch in self._crops(split, self._shard_paths(split)):
            yield self._compute(batch["image"]).numpy()

    def _in_memory(self, split):
        total = self._manifest.num_examples(split)
        features, index, label = (
            np.empty([total, self.dim], self._dtype),
            np.empty(total, np.int64),
            np.empty(total, np.int64),
        )
        progress, done = Progress(f"features of {split}", total, "images"), 0
        precision = StoredPrecision()
        for batch in self._crops(split, self._shard_paths(split)):
            rows = slice(done, done + len(batch["index"]))
            computed = self._compute(batch["image"]).numpy()
            precision.add(computed)
            with np.errstate(over="ignore"):
                features[rows] = computed
            index[rows], label[rows] = batch["index"], batch["label"]
            done = rows.stop
            progress.update(done)
        if done != total:
            raise CorruptArtifactError(
                f"{self._data_dir}: split {split} has {done} images instead of the {total} of its "
                "manifest"
            )
        if self._dtype == np.float16 and (fault := precision.fault()):
            raise InputError(f"--cache_features: {fault}; use --nocache_features")
        return index, features, label

    def _on_disk(self, split, total):
        gigabytes = total * self.dim * self._dtype.itemsize / 2**30
        if self._directory is None:
            raise InputError(
                f"--cache_features: {total} images x {self.dim} numbers need {gigabytes:.1f} GB, "
                "more than --cache_memory_gb="
                f"{self._memory_bytes / 2**30:g}, and there is no --workdir for them; use "
                "--nocache_features or smaller --probe_grids"
            )
        directory = self._directory / split
        directory.mkdir(parents=True, exist_ok=True)
        manifest = (
            Manifest.read(directory, "features")
            if (directory / "manifest.json").is_file()
            else None
        )
        if manifest is None:
            here = sum(path.stat().st_size for path in directory.iterdir())
            free = shutil.disk_usage(directory).free / 2**30
            if free < gigabytes - here / 2**30:
                raise ResourceError(
                    f"{directory}: the features of split {split} need {gigabytes:.1f} GB, "
                    f"{free:.1f} are free there"
                )
            print(f"features of {split}: {gigabytes:.1f} GB in shards in {directory}", flush=True)
            with signals.stop_on_signal() as stopping:
                manifest = extract_features(
                    _Extractor(self),
                    self._data_dir,
                    split,
                    directory,
                    dtype=self._dtype.name,
                    should_stop=stopping,
                    strategy=self._strategy,
                )
        wanted = dict(self._description, images_fingerprint=self._manifest.fingerprint(split))
        different = [name for name, value in wanted.items() if manifest.info.get(name) != value]
        if different:
            raise InputError(
                f"{directory}: features made with another {different[0]}; name another --workdir"
            )
        return RowsOnDisk(directory, *self._rows_of(split, directory / "rows.npy", total))

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
        advice = "remove it to have it written again"
        rows = read_array(path, advice=advice)
        if rows.shape != (2, total) or rows.dtype != np.int64:
            raise CorruptArtifactError(
                f"{path}: {rows.dtype} {list(rows.shape)} instead of two rows of {total} indices; "
                f"{advice}"
            )
        return rows


class _Extractor(Extractor):
    """The features as `extract_features` wants them; its settings are those of the cache."""

    settings = None

    def __init__(self, cache):
        self._cache, self.dim = cache, cache.dim

    def describe(self):
        return self._cache._description

    def batches(self, data_dir, split, shards):
        paths = self._cache._shard_paths(split)
        for shard in shards:
            for batch in self._cache._crops(split, [paths[shard]]):
                yield batch["index"].numpy(), self._cache._compute(batch["image"]).numpy()

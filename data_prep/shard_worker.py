"""What the worker processes of a conversion do: turn one shard's items into a TFRecord file,
renumber one, describe all to TFDS.

Only workers import TensorFlow, so the command itself starts at once and answers signals at once.
"""

import collections
import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np

from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.runs.errors import CorruptArtifactError, ResourceError
from ccssl_tf.runs.files import file_sha256, write_json
from ccssl_tf.runs.json_files import read_json
from data_prep import decoding, worker_process
from data_prep.image_set import Annotator, Item

_SIDECAR = dict(
    shard=manifest_lib.SHARD_FORM, first_index=range(1 << 63), bad=[list], reencoded={str: int}
)
_FILENAME_TEMPLATE = "{SPLIT}-{SHARD_X_OF_Y}.{FILEFORMAT}"


@dataclasses.dataclass(frozen=True)
class ShardTask:
    """Everything one shard is made of.

    Attributes:
      path: where it goes.
      items: its images in order.
      first_index: `image/index` of the first one.
      read: importable function from an item's location to the bytes of the image file.
      class_names: names of the labels, or None.
      options: see DecodeOptions.
      annotator: makes the records' further features, or None.
    """

    path: pathlib.Path
    items: list[Item]
    first_index: int
    read: Callable[[tuple], bytes]
    class_names: list[str] | None
    options: decoding.DecodeOptions
    annotator: Annotator | None = None


@dataclasses.dataclass(frozen=True)
class ShardRecord:
    """A finished shard, as its sidecar file remembers it until the whole conversion is done.

    Attributes:
      shard: name, counts and digest.
      first_index: `image/index` of its first image.
      bad: (position among the shard's items, name in hex, why) of the images left out.
      reencoded: reason -> images.
    """

    shard: manifest_lib.Shard
    first_index: int
    bad: list[list]
    reencoded: dict[str, int]

    def write(self, directory: pathlib.Path):
        """Writes the sidecar: the shard counts as finished from here on."""
        write_json(sidecar_path(directory / self.shard.name), dataclasses.asdict(self))

    @classmethod
    def read(cls, path: pathlib.Path) -> "ShardRecord | None":
        """Returns the record of the shard at `path` if its bytes are the recorded ones,
        else None.
        """
        try:
            raw = read_json(sidecar_path(path), _SIDECAR, remedy="")
            record = cls(**{**raw, "shard": manifest_lib.Shard(**raw["shard"])})
            whole = (
                path.stat().st_size == record.shard.num_bytes
                and file_sha256(path) == record.shard.sha256
                and all(len(entry) == 3 for entry in record.bad)
            )
        except (OSError, CorruptArtifactError, TypeError):  # TypeError: of another version.
            return None
        return record if whole else None


def sidecar_path(path: pathlib.Path) -> pathlib.Path:
    """Returns where the record of the shard at `path` lies."""
    return path.with_name(path.name + ".json")


def convert_shard(task: ShardTask) -> ShardRecord:
    """Writes one shard and its sidecar; bad images are left out and remembered."""
    from ccssl_tf.data import records

    bad, reencoded = [], collections.Counter()

    def examples():
        index = task.first_index
        for position, item in enumerate(task.items):
            try:
                image = decoding.convert_image(task.read(item.location), task.options)
                extra = task.annotator.features(item.location, image) if task.annotator else None
            except decoding.BadImage as error:
                bad.append([position, item.name.hex(), str(error)])
                continue
            finally:
                worker_process.count_up()
            reencoded.update(image.reasons)
            reencoded["total"] += bool(image.reasons)
            yield records.image_example(
                encoded=image.encoded,
                filename=item.name,
                height=image.height,
                width=image.width,
                index=index,
                label=item.label,
                text=task.class_names[item.label].encode()
                if task.class_names and item.label >= 0
                else b"",
                extra=extra,
            )
            index += 1

    shard = _write_shard(task.path, examples())
    record = ShardRecord(
        shard,
        task.first_index,
        bad,
        {reason: count for reason, count in reencoded.items() if count},
    )
    record.write(task.path.parent)
    return record


def renumber_shard(directory: pathlib.Path, record: ShardRecord, first_index: int) -> ShardRecord:
    """Rewrites a shard whose first index moved because images before it were bad."""
    import tensorflow as tf

    from ccssl_tf.data import records

    def examples():
        for index, serialized in enumerate(
            records.read_shard(directory / record.shard.name), first_index
        ):
            example = tf.train.Example.FromString(serialized)
            example.features.feature["image/index"].int64_list.value[:] = [index]
            yield example.SerializeToString(deterministic=True)

    record = dataclasses.replace(
        record,
        shard=_write_shard(directory / record.shard.name, examples()),
        first_index=first_index,
    )
    record.write(directory)
    return record


def _write_shard(path, examples):
    import tensorflow as tf

    from ccssl_tf.data import records

    try:
        return records.write_shard(path, examples)
    except tf.errors.OpError as error:  # Bad images were caught before: this is the writer's.
        raise ResourceError(
            f"{path}: cannot be written ({error.message}); make room and start the same command "
            "again"
        ) from error


def write_tfds_metadata(
    directory: pathlib.Path,
    splits: dict[str, list[manifest_lib.Shard]],
    class_names: list[str] | None,
    annotator: Annotator | None = None,
):
    """Writes what `tfds.builder_from_directory(directory)` needs. A label of -1 reads
    back as -1.
    """
    import tensorflow_datasets as tfds

    label = (
        tfds.features.ClassLabel(names=class_names)
        if class_names
        else tfds.features.Scalar(np.int64)
    )
    by_key = {
        "image/encoded": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
        "image/format": tfds.features.Text(),
        "image/filename": tfds.features.Text(),
        "image/height": tfds.features.Scalar(np.int64),
        "image/width": tfds.features.Scalar(np.int64),
        "image/index": tfds.features.Scalar(np.int64),
        "image/class/label": label,
        "image/class/text": tfds.features.Text(),
        **(annotator.tfds_features() if annotator else {}),
    }
    split_infos = [
        tfds.core.SplitInfo(
            name=name,
            shard_lengths=[shard.num_examples for shard in shards],
            num_bytes=sum(shard.num_bytes for shard in shards),
            filename_template=tfds.core.ShardedFileTemplate(
                data_dir=directory,
                template=_FILENAME_TEMPLATE,
                split=name,
                filetype_suffix="tfrecord",
            ),
        )
        for name, shards in splits.items()
    ]
    tfds.folder_dataset.write_metadata(
        data_dir=directory,
        features=tfds.features.FeaturesDict(_nested(by_key)),
        split_infos=split_infos,
        version="1.0.0",
        filename_template=_FILENAME_TEMPLATE,
        check_data=False,
    )


def _nested(by_key):
    """`{"a/b": x}` -> `{"a": {"b": x}}`."""
    nested = {}
    for key, value in by_key.items():
        *rooms, name = key.split("/")
        inner = nested
        for room in rooms:
            inner = inner.setdefault(room, {})
        inner[name] = value
    return nested

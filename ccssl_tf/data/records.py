"""The TFRecord schemas: the one writer and parser of images, features and pseudo-labels, shared
with data_prep.

Keys follow the TF Object Detection API. `image/index` is dense in [0, N) per split; an image
without a label has label -1.
"""

import contextlib
import pathlib
import re

import numpy as np
import tensorflow as tf

from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.data.datasets import serialized_records
from ccssl_tf.runs.errors import CorruptArtifactError, InputError
from ccssl_tf.runs.files import atomic_file, file_sha256, sample_sha256

UNLABELLED = -1
_REFUSED = "refused record: "
# What TensorFlow's errors about the content of a record mention.
_OF_RECORDS = re.compile("JPEG|Key:|[Pp]arse|[Dd]ecod|Feature")


def _serialize(features: dict[str, bytes | int | list[bytes] | np.ndarray]) -> bytes:
    """One value, a list of bytes, or an int64 or float32 array [n], by key."""
    example = tf.train.Example()
    by_key = example.features.feature
    for key, values in features.items():
        # Appending to the lists in place takes a third of the time of building a Feature for each.
        if isinstance(values, bytes):
            by_key[key].bytes_list.value.append(values)
        elif isinstance(values, int):
            by_key[key].int64_list.value.append(values)
        elif isinstance(values, list):
            by_key[key].bytes_list.MergeFrom(tf.train.BytesList(value=values))
        elif values.dtype.kind == "f":
            by_key[key].float_list.MergeFrom(tf.train.FloatList(value=values))
        else:
            by_key[key].int64_list.MergeFrom(tf.train.Int64List(value=values))
    return example.SerializeToString(deterministic=True)


def image_example(
    *,
    encoded: bytes,
    filename: bytes,
    height: int,
    width: int,
    index: int,
    label=UNLABELLED,
    text: bytes = b"",
    extra: dict[str, list[bytes] | np.ndarray] | None = None,
) -> bytes:
    """Returns one serialised image.

    Args:
      encoded: RGB JPEG bytes.
      filename: the source's name, as bytes (names need not be UTF-8).
      height: pixels.
      width: pixels.
      index: position of the image in its split, in [0, N).
      label: class in [0, number of classes), or -1.
      text: class name.
      extra: further features by key (see `voc_records`): lists of bytes, int64 or float32 arrays
        [n].
    """
    return _serialize(
        {
            "image/encoded": encoded,
            "image/format": b"jpeg",
            "image/filename": filename,
            "image/height": height,
            "image/width": width,
            "image/index": index,
            "image/class/label": label,
            "image/class/text": text,
            **(extra or {}),
        }
    )


def parse_image(serialized) -> dict[str, tf.Tensor]:
    """Parses one image record, in a graph: `encoded`, `filename` (bytes), `index`, `label` (int64
    scalars).
    """
    parsed = tf.io.parse_single_example(
        serialized,
        {
            "image/encoded": tf.io.FixedLenFeature([], tf.string),
            "image/filename": tf.io.FixedLenFeature([], tf.string, b""),
            "image/index": tf.io.FixedLenFeature([], tf.int64),
            "image/class/label": tf.io.FixedLenFeature([], tf.int64, UNLABELLED),
        },
    )
    return dict(
        encoded=parsed["image/encoded"],
        filename=parsed["image/filename"],
        index=parsed["image/index"],
        label=parsed["image/class/label"],
    )


def parse_indices(serialized):
    """Returns the `image/index` [n] int64 of serialised image records [n]."""
    return tf.io.parse_example(serialized, {"image/index": tf.io.FixedLenFeature([], tf.int64)})[
        "image/index"
    ]


def feature_example(index: np.ndarray, features: np.ndarray) -> bytes:
    """Returns a serialised block of rows.

    Args:
      index: [n] int64, the images' indices.
      features: [n, D] float16 or float32; stored as raw little-endian bytes.
    """
    little_endian = features.astype(features.dtype.newbyteorder("<"), copy=False)
    return _serialize({"index": index, "feature": little_endian.tobytes()})


def parse_features(serialized, dim: int, dtype) -> tuple[tf.Tensor, tf.Tensor]:
    """Parses one block, in a graph: index [n] int64, features [n, D] of `dtype`."""
    parsed = tf.io.parse_single_example(
        serialized,
        {
            "index": tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True),
            "feature": tf.io.FixedLenFeature([], tf.string),
        },
    )
    return parsed["index"], tf.reshape(
        tf.io.decode_raw(parsed["feature"], dtype), [tf.size(parsed["index"]), dim]
    )


def pseudo_label_example(
    index: int,
    filename: bytes,
    label: int,
    distance: float,
    nearest: np.ndarray | None = None,
    nearest_distances: np.ndarray | None = None,
) -> bytes:
    """Returns one serialised pseudo-label.

    Args:
      index: of the image.
      filename: of the image.
      label: cluster in [0, K).
      distance: the Euclidean distance to its centroid.
      nearest: [n] int, the nearest clusters, the label first; None: they are not recorded.
      nearest_distances: [n] float, to their centroids.
    """
    features: dict[str, bytes | int | list[bytes] | np.ndarray] = {
        "index": int(index),
        "image/filename": filename,
        "label": int(label),
        "distance": np.array([distance], np.float32),
    }
    if nearest is not None:
        features["nearest/label"] = np.asarray(nearest, np.int64)
        features["nearest/distance"] = np.asarray(nearest_distances, np.float32)
    return _serialize(features)


def parse_pseudo_label(serialized, num_nearest: int = 0) -> dict[str, tf.Tensor]:
    """Parses a pseudo-label record or a batch of them ([n] strings -> [n] tensors): `index`,
    `filename`, `label`, `distance`, and, of records that have `num_nearest` nearest clusters,
    `nearest` and `nearest_distances` with one more dimension.
    """
    features = {
        "index": tf.io.FixedLenFeature([], tf.int64),
        "image/filename": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
        "distance": tf.io.FixedLenFeature([], tf.float32),
    }
    if num_nearest:
        features["nearest/label"] = tf.io.FixedLenFeature([num_nearest], tf.int64)
        features["nearest/distance"] = tf.io.FixedLenFeature([num_nearest], tf.float32)
    parsed = tf.io.parse_example(serialized, features)
    parsed["filename"] = parsed.pop("image/filename")
    if num_nearest:
        parsed["nearest"] = parsed.pop("nearest/label")
        parsed["nearest_distances"] = parsed.pop("nearest/distance")
    return parsed


def write_shard(path, serialized_examples, num_examples: int | None = None) -> manifest_lib.Shard:
    """Writes an iterable of serialised examples as one TFRecord file, wholly or not at all.

    Args:
      path: where.
      serialized_examples: iterable of bytes, one record each.
      num_examples: what the manifest counts (rows, for feature blocks); the number of records by
        default.
    """
    count = 0
    with atomic_file(path) as temporary:
        with tf.io.TFRecordWriter(str(temporary)) as writer:
            for serialized in serialized_examples:
                writer.write(serialized)
                count += 1
        shard = manifest_lib.Shard(
            path.name,
            count if num_examples is None else num_examples,
            temporary.stat().st_size,
            file_sha256(temporary),
            sample_sha256(temporary),
        )
    return shard


def read_shard(path):
    """Yields the serialised examples of a TFRecord file; raises CorruptArtifactError naming the
    file and record.
    """
    count = 0
    if not pathlib.Path(path).is_file():
        raise CorruptArtifactError(f"{path}: is missing; write it again")
    try:
        for record in serialized_records(path).as_numpy_iterator():
            yield record
            count += 1
    except tf.errors.DataLossError as error:
        raise CorruptArtifactError(
            f"{path}: damaged after record {count} ({error.message}); write it again"
        ) from error


def required(value, condition, where: str, parsed: dict, message: str, *values):
    """Returns `value`, in a graph that parses records; where `condition` is false, reading ends
    with an error that names the image.

    Inside `naming_damage` it is an InputError.

    Args:
      value: any tensor.
      condition: scalar bool.
      where: data directory and split, for the message.
      parsed: of `parse_image`, for the image's name.
      message: what is wrong and what to do, with a {} for each of `found`.
      *found: scalar tensors.
    """
    filename = tf.strings.unicode_transcode(
        parsed["filename"], "UTF-8", "UTF-8", replace_control_characters=True
    )
    which = [
        f"{_REFUSED}{where}: image ",
        tf.strings.as_string(parsed["index"]),
        " (",
        filename,
        ") ",
    ]
    text = tf.strings.join([*which, tf.strings.format(message, values)])
    with tf.control_dependencies([tf.debugging.Assert(condition, [text])]):
        return tf.identity(value)


def _read_image(serialized):
    tf.io.decode_jpeg(parse_image(serialized)["encoded"], channels=3)


@contextlib.contextmanager
def naming_damage(directory, read=_read_image):
    """Turns TensorFlow's errors about damaged and refused records into ours, which name shard or
    image.

    The shards of `directory` are read one after the other only when such an error has come.

    Args:
      directory: of the shards.
      read: reads one serialised record, eagerly, as the work inside does; of images by default.

    Raises:
      CorruptArtifactError: in place of DataLossError, and of InvalidArgumentError where a whole
        record cannot be read; the message names shard and record.
      InputError: a record is not what `required` asks for.
    """
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        _, refused, message = error.message.partition(_REFUSED)
        if not refused:
            if _OF_RECORDS.search(error.message):
                _refuse_unreadable(directory, read)
            raise
        raise InputError(message.splitlines()[0].removesuffix("]")) from error
    except UnicodeDecodeError:
        # TensorFlow quotes the bytes of what it cannot parse, and Python takes them for text.
        _refuse_unreadable(directory, read)
        raise
    except tf.errors.DataLossError as error:
        for path in sorted(pathlib.Path(directory).glob("*.tfrecord")):
            for _ in read_shard(path):
                pass
        raise CorruptArtifactError(
            f"{directory}: damaged records ({error.message.splitlines()[0][:200]}); convert again"
        ) from error


def _refuse_unreadable(directory, read):
    """Raises CorruptArtifactError for the first record that `read` cannot read, if there is one."""
    for path in sorted(pathlib.Path(directory).glob("*.tfrecord")):
        for number, serialized in enumerate(read_shard(path)):
            try:
                read(serialized)
            except (tf.errors.InvalidArgumentError, UnicodeDecodeError) as error:
                said = getattr(error, "message", "no tf.train.Example")
                reason = re.sub(r"{{.*?}} ?| ?\[Op:.*", "", said).strip().splitlines()[0]
                raise CorruptArtifactError(
                    f"{path}: record {number} (from 0) cannot be read ({reason[:200]}); convert "
                    "again"
                ) from error

"""Finds the images and labels in a data set that tensorflow-datasets has prepared, and reads them
at random from its record files.
"""

import functools
import os
from collections.abc import Sequence

import numpy as np

from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.progress import Progress
from data_prep import file_list, tfrecord_file
from data_prep.faults import Faults
from data_prep.image_set import ImageSet, Item

_NAME_KEYS = ("file_name", "filename", "image/filename", "image/file_name")
_SPLIT_NAMES = {"validation": "val"}


def find_builder(name: str, data_dir: str | None):
    """Returns the builder of a data set (`name[/config][:version]`); raises InputError if there is
    none.
    """
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(name, data_dir=data_dir)
    except tfds.core.registered.DatasetNotFoundError as error:
        raise InputError(
            f"--name={name}: tensorflow-datasets has no such data set, nor is it below "
            "--tfds_data_dir"
        ) from error
    except tfds.core.dataset_info.DatasetInfoFileError as error:
        path = str(error).rpartition(" ")[2]
        raise InputError(
            f"{path}: missing or damaged; fetch it again, or read the records without it: python "
            f"-m data_prep.tfrecord_import --source={os.path.dirname(path)}"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # Descriptions that are damaged make it raise anything.
        if isinstance(error, OSError) and error.errno:
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"--name={name}: tensorflow-datasets cannot open it ({reason[:200]}); fetch it again"
        ) from error


def list_images(
    builder, *, splits: Sequence[str], image_key: str | None, label_key: str | None
) -> ImageSet:
    """Lists the images of a prepared data set: every record is read once, since only it knows its
    label.

    Args:
      builder: of `find_builder`, prepared.
      splits: TFDS's names; all if empty. `validation` becomes `val`.
      image_key: of the feature that is the image; None for `image` or the only one.
      label_key: of the class, or of a whole number that is its number (-1: none); None for `label`
        or the only one of the former kind.

    Raises:
      InputError: no such split or feature, images other than 8- or 16-bit, or damaged record files;
        all damaged records are told.
    """
    import tensorflow_datasets as tfds

    known = list(builder.info.splits)
    unknown = [split for split in splits if split not in known]
    if unknown:
        raise InputError(
            f"--splits: {builder.info.full_name} has no {', '.join(unknown)}, it has "
            f"{', '.join(known)}"
        )
    features = dict(_flatten(builder.info.features))
    image_key = _choose(features, tfds.features.Image, "image", image_key, "image_key", builder)
    if image_key is None:
        raise InputError(
            f"{builder.info.full_name}: none of its features is an image: {', '.join(features)}"
        )
    dtype = np.dtype(features[image_key].np_dtype)
    if dtype not in (np.uint8, np.uint16):
        raise InputError(f"{builder.info.full_name}: its images are {dtype}, not 8- or 16-bit")
    label_key = _choose_label(features, label_key, builder)
    name_key = next(
        (key for key in _NAME_KEYS if isinstance(features.get(key), tfds.features.Text)), None
    )
    num_classes = _num_classes(features, label_key)
    counts = {split: builder.info.splits[split].num_examples for split in splits or known}
    total, done, images = sum(counts.values()), 0, {}
    progress = Progress(f"indexing {builder.info.full_name}", total, "images")
    faults = Faults(str(builder.data_path))
    for split in counts:
        items = images[_SPLIT_NAMES.get(split, split)] = []
        for location, example in _examples(builder, split, faults):
            name = (
                _only(example[name_key].bytes_list, name_key, location)
                if name_key
                else f"{split}/{len(items):08}".encode()
            )
            label = _only(example[label_key].int64_list, label_key, location) if label_key else -1
            if num_classes is not None and not -1 <= label < num_classes:
                faults.add(
                    f"{location[0]}: record at {location[1]}: label {label}, there are "
                    f"{num_classes} classes"
                )
            size = len(_only(example[image_key].bytes_list, image_key, location))
            items.append(Item(name, label, size, (*location, image_key)))
            done += 1
            if done < total:
                progress.update(done)
        if len(items) != counts[split] and not faults.count:
            faults.add(f"holds {len(items)} images of {split} instead of {counts[split]}")
    faults.refuse("prepare the data set again")
    names = None
    if num_classes is not None:
        names = features[label_key].names
    elif label_key:
        names, images = _numbered(images)
    return ImageSet(images, names, "tfds", read_image, dict(tfds_name=builder.info.full_name))


def _num_classes(features, label_key):
    """How many classes the description names; None where it names none."""
    import tensorflow_datasets as tfds

    feature = features.get(label_key)
    return feature.num_classes if isinstance(feature, tfds.features.ClassLabel) else None


def _numbered(images):
    """Class names and images, of labels that are numbers."""
    used = {item.label: str(item.label) for items in images.values() for item in items}
    names, number_of = file_list.number_labels(used, None)
    return names, {
        split: [item._replace(label=number_of[str(item.label)]) for item in items]
        for split, items in images.items()
    }


def read_image(location: tuple) -> bytes:
    """Returns the image file at (path, position, size or None, key)."""
    *record, key = location
    return _only(_example(record)[key].bytes_list, key, record)


def _flatten(features, prefix=""):
    """Yields (key in the records, feature), going into dictionaries but not into sequences."""
    for key, feature in features.items():
        if isinstance(feature, type(features)):
            yield from _flatten(feature, f"{prefix}{key}/")
        else:
            yield prefix + key, feature


def _choose(features, kind, usual, wanted, flag, builder):
    keys = [key for key, feature in features.items() if isinstance(feature, kind)]
    if wanted:
        if wanted not in keys:
            raise InputError(
                f"--{flag}={wanted}: {builder.info.full_name} has {', '.join(keys) or 'none'} of "
                "that kind"
            )
        return wanted
    if usual in keys or len(keys) < 2:
        return usual if usual in keys else next(iter(keys), None)
    raise InputError(f"{builder.info.full_name}: choose one of {', '.join(keys)} by --{flag}")


def _choose_label(features, wanted, builder):
    """The key of the class, or of a whole number called like one; None where there is neither."""
    import tensorflow_datasets as tfds

    numbers = {
        key
        for key, feature in features.items()
        if isinstance(feature, tfds.features.Tensor)
        and not isinstance(feature, tfds.features.ClassLabel)
        and feature.shape == ()
        and np.issubdtype(feature.np_dtype, np.integer)
    }
    classes = [
        key for key, found in features.items() if isinstance(found, tfds.features.ClassLabel)
    ]
    if wanted in numbers or (wanted is None and not classes and "label" in numbers):
        return wanted or "label"
    return _choose(features, tfds.features.ClassLabel, "label", wanted, "label_key", builder)


def _examples(builder, split, faults):
    """Yields (location, features) of the records of a split: (path, offset, size) in a TFRecord
    file, (path, number, None) in an array_record.
    """
    file_format = builder.info.file_format.value
    if file_format not in ("tfrecord", "array_record"):
        raise InputError(
            f"{builder.data_path}: its records are {file_format}; prepare it as tfrecord or "
            "array_record"
        )
    for path in map(os.fspath, builder.info.splits[split].filepaths):
        if file_format == "tfrecord":
            for location, data in tfrecord_file.read_records(path, faults):
                yield location, _parsed(data, location)
            continue
        for number in range(_array_record(path).num_records()):
            yield (path, number, None), _example((path, number, None))


def _example(location):
    path, position, size = location = tuple(location)
    data = (
        _array_record(path).read([position])[0]
        if size is None
        else tfrecord_file.read_record(location)
    )
    return _parsed(data, location)


def _parsed(data, location):
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        return tf.train.Example.FromString(data).features.feature
    except DecodeError as error:
        raise InputError(
            f"{location[0]}: damaged at {location[1]}; prepare the data set again"
        ) from error


def _only(values, key, location):
    if len(values.value) != 1:
        raise InputError(
            f"{location[0]}: {len(values.value)} values of {key} instead of one in the record at "
            f"{location[1]}"
        )
    return values.value[0]


@functools.lru_cache(16)
def _array_record(path):
    from array_record.python.array_record_module import ArrayRecordReader

    return ArrayRecordReader(path)

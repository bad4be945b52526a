"""Which keys of a foreign TFRecord's examples hold the image, its class and its name: guessed from
names in use and from the first records.
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Sequence

from ccssl_tf.runs.errors import InputError
from data_prep import image_container, tfrecord_file
from data_prep.faults import Faults

# Keys by what they hold, the usual first.
_IMAGES = (
    *("image/encoded", "image", "image_raw", "encoded", "image_bytes", "img", "jpeg", "png"),
    *("image/image", "image/raw"),
)
_LABELS = (
    *("image/class/label", "label", "labels", "image/label", "class", "class_id", "image/class/id"),
    *("target", "category"),
)
_TEXTS = (
    # ImageNet's synsets come first, as two of its classes may share their text.
    *("image/class/synset", "image/class/text", "class/text", "label_text", "label_name"),
    *("class_name", "text", "synset"),
)
_NAMES = (
    *("image/filename", "filename", "file_name", "image/file_name", "image/name", "name"),
    *("image/source_id", "image_id", "id", "path"),
)
BOX = "image/object/bbox/"
CORNERS = ("xmin", "ymin", "xmax", "ymax")
OBJECT_LABEL, OBJECT_TEXT = "image/object/class/label", "image/object/class/text"
DIFFICULT, TRUNCATED = (
    ("image/object/difficult", "image/object/is_crowd"),
    "image/object/truncated",
)
# Of each split; a first image without boxes or label tells nothing about the others.
_LOOKED_AT = 32
# Further pictures of an image, which nobody means by its only one.
_MASKS = "image/segmentation/"
# What the picture itself says.
_REDUNDANT = {
    *(f"image/{name}" for name in ("format", "height", "width", "channels", "colorspace")),
    *("image/key/sha256", "format", "height", "width", "depth", "channels", "shape"),
}


@dataclasses.dataclass(frozen=True)
class Keys:
    """The keys of the records, None where there is none.

    Attributes:
      image: of the encoded image.
      label: of its class, a number or a name.
      text: of the name that belongs to the number.
      name: of its file name.
      has_objects: whether there are boxes with classes.
      others: what is not taken.
    """

    image: str
    label: str | None
    text: str | None
    name: str | None
    has_objects: bool
    others: tuple[str, ...] = ()


def guess_keys(
    paths: Sequence[pathlib.Path],
    image_key: str | None = None,
    label_key: str | None = None,
    with_objects: bool | None = None,
) -> Keys:
    """Returns the keys of some files' records.

    Args:
      paths: of the files, one of each split; the first records of each are looked at.
      image_key, label_key: known ones; None: guessed.
      with_objects: whether boxes are wanted; None: where there are boxes with classes, and no
        label_key.

    Raises:
      InputError: no image, several that may be it, a key or boxes that are not there, raw pixels,
        or a damaged record.
    """
    path, features = paths[0], _first_features(paths)
    encoded = [
        key
        for key, feature in features.items()
        if len(feature.bytes_list.value) == 1
        and image_container.format_of(feature.bytes_list.value[0])
        and not key.startswith(_MASKS)
    ]
    if image_key is None:
        usual = [key for key in _IMAGES if key in encoded]
        if not usual and len(encoded) != 1:
            _refuse_raw(path, features, encoded)
        image_key = usual[0] if usual else encoded[0]
    elif image_key not in features:
        raise InputError(f"--image_key={image_key}: the records have {_listing(features)}")
    elif image_key not in encoded:
        _refuse_raw(path, {image_key: features[image_key]}, [])
    if label_key is not None and label_key not in features:
        raise InputError(f"--label_key={label_key}: the records have {_listing(features)}")
    objects = OBJECT_LABEL in features or f"{BOX}xmin" in features
    if with_objects and not objects:
        raise InputError(f"{path}: its records hold no {BOX}* and {OBJECT_LABEL}")
    has_objects = with_objects
    if with_objects is None:
        has_objects = OBJECT_LABEL in features and label_key is None
    if objects and not has_objects:
        print(f"{path}: its boxes are not taken")
    label = label_key or next((key for key in _LABELS if _is_single(features.get(key))), None)
    text = next((key for key in _TEXTS if _is_single(features.get(key)) and key != label), None)
    name = next((key for key in _NAMES if _is_single(features.get(key))), None)
    label = None if has_objects else label
    taken = {image_key, label, name, text if label else None}
    if has_objects:
        corners = {BOX + corner for corner in CORNERS}
        taken |= {OBJECT_LABEL, OBJECT_TEXT, *DIFFICULT, TRUNCATED, *corners}
    others = tuple(sorted(features.keys() - taken - _REDUNDANT))
    return Keys(image_key, label, text, name, bool(has_objects), others)


def _first_features(paths):
    """Key -> the first value that is not empty, among the first records of each file."""
    faults, found = Faults("--source"), {}
    for path in paths:
        records = tfrecord_file.read_records(path, faults)
        for _, data in itertools.islice(records, _LOOKED_AT):
            for key, feature in features_of(data, str(path)).items():
                if key not in found or not num_values(found[key]):
                    found[key] = feature
    if not found:
        # Without a record there may be faults that say why.
        faults.refuse("fetch it again")
        raise InputError(f"{paths[0]}: holds no records")
    return dict(sorted(found.items()))


def features_of(data: bytes, where: str) -> dict:
    """Returns the features of a serialised example, by key; `where` it lies, for messages."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        return dict(tf.train.Example.FromString(data).features.feature)
    except DecodeError as error:
        raise InputError(f"{where}: its records are no tf.train.Example") from error


def _refuse_raw(path, features, encoded):
    if encoded:
        raise InputError(f"{path}: choose one of {', '.join(encoded)} by --image_key")
    raw = [
        f"{key} ({len(feature.bytes_list.value[0])} bytes)"
        for key, feature in features.items()
        if len(feature.bytes_list.value) == 1 and (key in _IMAGES or len(features) == 1)
    ]
    raise InputError(
        f"{path}: no key holds a JPEG, PNG, WebP, GIF, BMP or TIFF"
        + (f"; {', '.join(raw)} may be raw pixels, which are not read: encode them" if raw else "")
        + f"; the records have {_listing(features)}"
    )


def _listing(features):
    return ", ".join(sorted(features)) or "no keys"


def num_values(feature) -> int:
    """Returns how many values a feature has; 0 for None."""
    if feature is None:
        return 0
    lists = feature.bytes_list, feature.int64_list, feature.float_list
    return sum(len(one.value) for one in lists)


def _is_single(feature):
    return feature is not None and (
        len(feature.bytes_list.value) + len(feature.int64_list.value) == 1
    )


def say(keys: Keys):
    """Prints what is taken for what."""
    parts = [f"image: {keys.image}"]
    if keys.has_objects:
        parts.append(f"boxes: {BOX}*, classes: {OBJECT_LABEL}")
    else:
        parts.append(f"label: {keys.label or 'none'}")
        if keys.label and keys.text:
            parts.append(f"its name: {keys.text}")
    parts.append(f"file name: {keys.name or 'none, numbered'}")
    if keys.others:
        parts.append(f"not taken: {', '.join(keys.others)}")
    print(f"taking {'; '.join(parts)} (--image_key, --label_key choose others)", flush=True)


def single_value(feature) -> int | bytes | None:
    """Returns the single number or bytes of a feature, or None."""
    if feature is None or not _is_single(feature):
        return None
    return (list(feature.bytes_list.value) or [int(feature.int64_list.value[0])])[0]

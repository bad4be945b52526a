"""Finds images, labels and boxes in TFRecords that other projects wrote: those of the TensorFlow
Object Detection API, of ImageNet's usual converters, of tensorflow-datasets, and the like.

What a key means is guessed from its name and from the first record, and said.
"""

import dataclasses
import pathlib
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.progress import Progress
from data_prep import jpeg, locations, tfrecord_classes, tfrecord_file, tfrecord_keys
from data_prep.decoding import printable
from data_prep.faults import Faults, shown
from data_prep.image_set import ImageSet, Item
from data_prep.object_annotator import BoxEdges, Object, ObjectAnnotator, ObjectLocation, packed
from data_prep.split_names import split_of_name

_SHARD = re.compile(r"\.tfrecords?\b|\.records?\b|-\d{5}-of-\d{5}", re.IGNORECASE)


def find_files(sources: Sequence[str | pathlib.Path]) -> dict[str, list[pathlib.Path]]:
    """Returns split -> TFRecord files, sorted, of files and directories.

    The split is told by a part of the file's name, or else of its folder's; files that tell none
    are "train", and this is said.

    Raises:
      InputError: nothing there, or several files of which only some tell their split.
    """
    files = []
    for source in map(pathlib.Path, sources):
        if source.is_dir():
            found = [
                pathlib.Path(file.location[0])
                for file in locations.walk_tree(source)
                if _SHARD.search(printable(file.name).rpartition("/")[2])
                and not printable(file.name).endswith((".json", ".txt", ".pbtxt", ".index"))
            ]
            if not found:
                raise InputError(
                    f"--source={source}: holds no TFRecord files (name.tfrecord, name.record, "
                    "name-00000-of-00010)"
                )
            files += found
        elif source.is_file():
            files.append(source)
        else:
            raise InputError(f"--source={source}: no such file or directory")
    splits: dict[str, list[pathlib.Path]] = {}
    untold = []
    for path in sorted(set(files)):
        words = [*re.split(r"[-_.]", path.name), path.parent.name]
        split = next(filter(None, map(split_of_name, words)), None)
        splits.setdefault(split or "train", []).append(path)
        if split is None:
            untold.append(str(path))
    if untold and len(untold) < len(set(files)):
        raise InputError(
            f"--source: {len(untold)} files tell no split by their names, others do: "
            f"{shown(untold)}; rename them"
        )
    if untold:
        print(f"{untold[0]}: tells no split by its name; all are taken for train")
    return splits


def list_images(
    files: dict[str, list[pathlib.Path]],
    *,
    image_key: str | None = None,
    label_key: str | None = None,
    label_map: str | None = None,
    with_objects: bool | None = None,
    clip_boxes: bool = False,
) -> ImageSet:
    """Lists the images: every record is read once, since only it knows its label.

    Labels that are numbers are numbered anew from 0, in their order; their names are the texts
    beside them, where each number has one of its own, or those of a label map, or the numbers.
    Labels below 0 are none.

    Args:
      files: of `find_files`.
      image_key: of the encoded image; None: guessed.
      label_key: of the class, a whole number or a name; None: guessed.
      label_map: path of the Object Detection API's .pbtxt, or of a text with a name a line, the
        first one that of the smallest number.
      with_objects: whether boxes are taken; None: where there are boxes with classes.
      clip_boxes: see `BoxEdges`.

    Raises:
      InputError: keys that cannot be guessed or are not there, raw pixels, damaged records, labels
        and texts or boxes that do not fit; all faults are told.
    """
    faults = Faults("--source")
    keys = tfrecord_keys.guess_keys(
        next(iter(files.values()))[0], image_key, label_key, with_objects
    )
    tfrecord_keys.say(keys)
    total = sum(path.stat().st_size for paths in files.values() for path in paths)
    progress, done = Progress("indexing", total, "bytes"), 0
    reader = _Reader(keys, BoxEdges(clip_boxes), faults)
    splits: dict[str, list[_Row]] = {}
    for split, paths in files.items():
        rows = splits[split] = []
        for path in paths:
            for location, data in tfrecord_file.read_records(path, faults):
                done += location[2]
                progress.update(min(done, total - 1))
                row = reader.read(location, data, f"{split}/{len(rows):08}".encode())
                if row is not None:
                    rows.append(row)
    names, number_of = tfrecord_classes.number_classes(reader.texts, label_map, faults)
    faults.refuse("mend them, or fetch them again")
    if reader.edges.describe():
        print(f"--source: {reader.edges.describe()}")
    items = {
        split: [_item(row, number_of, keys.has_objects) for row in rows]
        for split, rows in splits.items()
    }
    annotator = ObjectAnnotator(tuple(names or ())) if keys.has_objects else None
    info = {"keys": dataclasses.asdict(keys)}
    read = read_object_image if keys.has_objects else read_image
    return ImageSet(items, names, "tfrecord", read, info, annotator)


def read_image(location: tuple) -> bytes:
    """Returns the image file at (path, offset, size, key)."""
    *record, key = location
    data = tfrecord_file.read_record(tuple(record))
    return tfrecord_keys.features_of(data, location[0])[key].bytes_list.value[0]


def read_object_image(location: ObjectLocation) -> bytes:
    """The same, of an image with objects."""
    return read_image(location.image)


@dataclasses.dataclass(frozen=True)
class _Row:
    """One image as its record tells it; objects have the record's own labels."""

    name: bytes
    size: int
    location: tuple
    label: int | str | None
    pixels: tuple[int, int] = (0, 0)
    objects: bytes = b""


class _Reader:
    """Reads records and remembers which texts stand beside which labels.

    Attributes:
      keys, edges, faults: as given.
      texts: label -> text -> how often they stand together.
    """

    def __init__(self, keys: tfrecord_keys.Keys, edges: BoxEdges, faults: Faults):
        self.keys, self.edges, self.faults = keys, edges, faults
        self.texts: dict[int | str, Counter[bytes]] = {}

    def read(self, location: tuple, data: bytes, usual_name: bytes) -> _Row | None:
        """Returns what a record tells; None where it has a fault, which is told."""
        where, keys = f"{location[0]}: record at byte {location[1] - 12}", self.keys
        features = tfrecord_keys.features_of(data, where)
        encoded = features[keys.image].bytes_list.value if keys.image in features else []
        if len(encoded) != 1:
            return self.faults.add(f"{where}: {len(encoded)} values of {keys.image} instead of one")
        name = self._name(features) or usual_name
        place = (*location, keys.image)
        if keys.has_objects:
            return self._with_objects(features, where, name, place, encoded[0])
        label: int | str | None = None
        if keys.label is not None:
            label = tfrecord_keys.single_value(features.get(keys.label))
            if label is None:
                return self.faults.add(f"{where}: no single value of {keys.label}")
            if isinstance(label, bytes):
                label = printable(label)
            text = features.get(keys.text) if keys.text else None
            seen = self.texts.setdefault(label, Counter())
            if text is not None and len(text.bytes_list.value) == 1:
                seen[text.bytes_list.value[0]] += 1
        return _Row(name, len(encoded[0]), place, label)

    def _name(self, features):
        value = tfrecord_keys.single_value(features.get(self.keys.name)) if self.keys.name else None
        return str(value).encode() if isinstance(value, int) else value

    def _with_objects(self, features, where, name, place, encoded):
        size = _size_of(encoded)
        if size is None:
            return self.faults.add(f"{where}: the size of its picture cannot be read")
        columns = [
            _numbers(features.get(tfrecord_keys.BOX + corner)) for corner in tfrecord_keys.CORNERS
        ]
        labels = _numbers(features.get(tfrecord_keys.OBJECT_LABEL))
        if len({len(labels), *map(len, columns)}) > 1:
            counts = ", ".join(map(str, (len(labels), *map(len, columns))))
            return self.faults.add(f"{where}: labels and corners differ in number: {counts}")
        texts = (
            features[tfrecord_keys.OBJECT_TEXT].bytes_list.value
            if tfrecord_keys.OBJECT_TEXT in features
            else []
        )
        flags = [
            _numbers(next((features[key] for key in keys if key in features), None))
            for keys in (tfrecord_keys.DIFFICULT, (tfrecord_keys.TRUNCATED,))
        ]
        objects, before = [], self.faults.count
        for row, (label, *corners) in enumerate(zip(labels, *columns, strict=True)):
            seen = self.texts.setdefault(int(label), Counter())
            if len(texts) == len(labels):
                seen[texts[row]] += 1
            box = _pixel_box(corners, size)
            if box is None:
                self.faults.add(f"{where}: box {tuple(corners)} is not of numbers in [0, 1]")
                continue
            inside, fault = self.edges.inside(box, size)
            if fault:
                self.faults.add(f"{where}: box {box} {fault}")
            elif inside is not None:
                given = [bool(flag[row]) if len(flag) == len(labels) else False for flag in flags]
                objects.append(Object(int(label), inside, *given))
        if self.faults.count > before:
            return None
        return _Row(name, len(encoded), place, None, size, packed(objects))


def _numbers(feature):
    if feature is None:
        return []
    return list(feature.int64_list.value) or list(feature.float_list.value)


def _size_of(encoded):
    """(Width, height) in pixels, from the header; None where it cannot be read."""
    import io

    from PIL import Image

    header = jpeg.read_header(encoded)
    if header is not None:
        return header.width, header.height
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return image.size
    except Exception:  # Decoders raise anything on hostile bytes.
        return None


def _pixel_box(corners, size):
    """Corners as parts of width and height -> 1-based inclusive pixels, as `voc_records` inverts
    them: the first pixel of a box begins at its minimum, the last one ends at its maximum.
    """
    values = np.array(corners, float) * [*size, *size]
    if not (np.isfinite(values).all() and np.abs(corners).max() < 1e3):
        return None
    xmin, ymin, xmax, ymax = (int(value) for value in np.floor(values + 0.5))
    if corners[0] > corners[2] or corners[1] > corners[3]:
        return xmin + 1, ymin + 1, min(xmax, xmin), min(ymax, ymin)
    # A box narrower than half a pixel is the pixel it lies in.
    return xmin + 1, ymin + 1, max(xmax, xmin + 1), max(ymax, ymin + 1)


def _item(row, number_of, has_objects):
    label = number_of.get(row.label, -1) if row.label is not None else -1
    if not has_objects:
        return Item(row.name, label, row.size, row.location)
    objects = [
        one._replace(label=number_of[one.label])
        for one in ObjectLocation(row.location, row.pixels, row.objects).objects
    ]
    return Item(row.name, -1, row.size, ObjectLocation(row.location, row.pixels, packed(objects)))

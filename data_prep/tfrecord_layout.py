"""Finds images, labels and boxes in TFRecords that other projects wrote: those of the TensorFlow
Object Detection API, of ImageNet's usual converters, of tensorflow-datasets, and the like.

What a key means is guessed from its name and from the first records, and said.
"""

import dataclasses
import pathlib
import re
from collections import Counter
from collections.abc import Sequence

from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.progress import Progress
from data_prep import locations, split_files, tfrecord_classes, tfrecord_file, tfrecord_keys
from data_prep.decoding import printable
from data_prep.faults import Faults
from data_prep.image_set import ImageSet, Item
from data_prep.object_annotator import (
    BoxEdges,
    Object,
    ObjectAnnotator,
    ObjectLocation,
    packed,
    size_of,
)

_NAMED = re.compile(r"\.tfrec(ords?)?\b|\.records?\b|-\d{5}-of-\d{5}", re.IGNORECASE)
_OTHER_SUFFIXES = (".json", ".txt", ".pbtxt", ".index", ".csv", ".md")


def find_files(sources: Sequence[str | pathlib.Path]) -> dict[str, list[pathlib.Path]]:
    """Returns split -> TFRecord files, sorted, of files and directories; see
    `split_files.files_by_split`. In directories those count that are called so or begin like one.

    Raises:
      InputError: nothing there, several files of which only some tell their split, or one of a
        numbered series is missing.
    """
    files = []
    for source in map(pathlib.Path, sources):
        if source.is_dir():
            files += _files_in(source)
        elif source.is_file():
            files.append(source)
        else:
            raise InputError(f"--source={source}: no such file or directory")
    return split_files.files_by_split("--source", files)


def _files_in(source):
    found, others = [], Counter()
    for file in locations.walk_tree(source):
        path = pathlib.Path(file.location[0])
        is_named = _NAMED.search(path.name) and not path.name.endswith(_OTHER_SUFFIXES)
        if is_named or tfrecord_file.begins_like_one(path):
            found.append(path)
        else:
            others[path.suffix or "no suffix"] += 1
    if not found:
        raise InputError(
            f"--source={source}: holds no TFRecord files (name.tfrecord, name.record, "
            "name-00000-of-00010)"
        )
    if others:
        common = ", ".join(f"{suffix} {count}" for suffix, count in others.most_common(5))
        print(f"--source={source}: ignoring {others.total()} files without records ({common})")
    return found


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
        [paths[0] for paths in files.values()], image_key, label_key, with_objects
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
        reader.check_labels(split, rows)
    label_map = label_map or _labels_beside(files, keys)
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
            count = tfrecord_keys.num_values(features.get(keys.label))
            label = tfrecord_keys.single_value(features.get(keys.label))
            if label is None and count:
                return self.faults.add(f"{where}: no single number or name in {keys.label}")
            if isinstance(label, bytes):
                label = printable(label)
        if label is not None:
            text = features.get(keys.text) if keys.text else None
            seen = self.texts.setdefault(label, Counter())
            if text is not None and len(text.bytes_list.value) == 1:
                seen[text.bytes_list.value[0]] += 1
        return _Row(name, len(encoded[0]), place, label)

    def check_labels(self, split: str, rows: list[_Row]):
        """Tells the images without label in a split where others have one; a split where none has
        is said.
        """
        if self.keys.label is None:
            return
        bare = [row for row in rows if row.label is None]
        if bare and len(bare) == len(rows):
            print(f"--source: the images of {split} have no labels")
            return
        for row in bare:
            where = f"{row.location[0]}: record at byte {row.location[1] - 12}"
            self.faults.add(f"{where}: no {self.keys.label}, others have one")

    def _name(self, features):
        value = tfrecord_keys.single_value(features.get(self.keys.name)) if self.keys.name else None
        return str(value).encode() if isinstance(value, int) else value

    def _with_objects(self, features, where, name, place, encoded):
        size = size_of(encoded)
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
            # The corners are parts of width and height; `voc_records` inverts the rounding.
            edges = tuple(part * side for part, side in zip(corners, (*size, *size), strict=True))
            inside, fault = self.edges.rounded(edges, size)
            if fault:
                told = ", ".join(f"{part:.6g}" for part in corners)
                self.faults.add(f"{where}: box ({told}), parts of {size[0]}x{size[1]}, {fault}")
            elif label < 0:
                self.faults.add(f"{where}: an object with the label {label}")
            elif inside is not None:
                given = [bool(flag[row]) if len(flag) == len(labels) else False for flag in flags]
                objects.append(Object(int(label), inside, *given))
        if self.faults.count > before:
            return None
        return _Row(name, len(encoded), place, None, size, packed(objects))


def _labels_beside(files, keys):
    """The list of names that tensorflow-datasets writes beside its records, or None."""
    path = next(iter(files.values()))[0].parent / f"{keys.label}.labels.txt"
    if keys.label is None or not path.is_file():
        return None
    print(f"{path}: names the classes")
    return str(path)


def _numbers(feature):
    if feature is None:
        return []
    return list(feature.int64_list.value) or list(feature.float_list.value)


def _item(row, number_of, has_objects):
    label = number_of.get(row.label, -1) if row.label is not None else -1
    if not has_objects:
        return Item(row.name, label, row.size, row.location)
    objects = [
        one._replace(label=number_of[one.label])
        for one in ObjectLocation(row.location, row.pixels, row.objects).objects
    ]
    return Item(row.name, -1, row.size, ObjectLocation(row.location, row.pixels, packed(objects)))

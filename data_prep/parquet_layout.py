"""Finds encoded images and their labels in Parquet files, as Hugging Face's data sets are stored.

Images are read row group by row group, since nothing smaller can be read by itself; the latest one
is remembered, and by `group_of` a shard asks for those of one together.
"""

import functools
import json
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from ccssl_tf.runs.damage import told_as_damage
from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.progress import Progress
from data_prep import file_list, locations, split_files
from data_prep.faults import Faults, shown
from data_prep.image_set import ImageSet, Item

_DEPTH = 3
_IMAGES = ("image", "images", "img", "jpg", "jpeg", "png", "imagebytes", "photo", "picture")
_NAMES = ("filename", "file", "filepath", "path", "imagename", "imagepath", "name", "key", "id")


def require_pyarrow():
    """Returns pyarrow.parquet; raises InputError where it is not installed."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise InputError("Parquet files need pyarrow (pip install -e '.[parquet]')") from error
    return pyarrow.parquet


def find_files(source: pathlib.Path) -> list[pathlib.Path]:
    """Returns the Parquet files at a path, in it or in its folders (three deep), sorted. Hidden
    folders, and those that hold images, are not looked into.
    """
    if source.is_dir():
        return sorted(_files_below(source, _DEPTH))
    return [source] if source.suffix.lower() == ".parquet" else []


def _files_below(folder, depth):
    folders = []
    with os.scandir(folder) as entries:
        for entry in entries:
            name = os.fsencode(entry.name)
            if name.lower().endswith(locations.IMAGE_SUFFIXES):
                return
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                folders.append(entry.path)
            elif name.lower().endswith(b".parquet"):
                yield pathlib.Path(entry.path)
    for inner in folders if depth else []:
        yield from _files_below(inner, depth - 1)


def list_images(
    source: pathlib.Path,
    files: Sequence[pathlib.Path],
    *,
    classes: list[str] | None,
    label_column: str | None,
    labels: str = "auto",
) -> ImageSet:
    """Lists the images: labels and names are read, pixels are not.

    Splits are told by the files' names or folders, see `split_files.files_by_split`.

    Args:
      source: for messages.
      files: of `find_files`.
      classes: names of the classes; None: as the files' Hugging Face metadata say, or else see
        `file_list.number_labels`.
      label_column: name of the labels' column; None: the one of a usual name.
      labels: "auto" or "none".

    Raises:
      CorruptArtifactError: a file is damaged.
      InputError: no column of images, several of labels, labels that fit no
        class, or files whose classes are called otherwise.
    """
    faults = Faults(str(source))
    rows: dict[str, list[tuple]] = {}
    not_taken: dict[str, None] = {}
    progress, done, names = Progress("indexing", len(files), "files"), 0, None
    for split, paths in split_files.files_by_split(source, files, below=source).items():
        for path in paths:
            table = _Table(path, label_column, labels != "none")
            if None not in (names, table.class_names) and names != table.class_names:
                faults.add(f"{path}: calls its classes otherwise than the files before")
            names = names or table.class_names
            rows.setdefault(split, []).extend(table.rows())
            not_taken.update(dict.fromkeys(table.not_taken))
            done += 1
            progress.update(done)
    faults.refuse("mend the files")
    if not_taken:
        print(f"{source}: columns not taken: {shown(list(not_taken))}")
    used = {label for found in rows.values() for *_, label in found if label is not None}
    number_of: dict = {None: -1}
    class_names = classes or names
    if used and class_names is not None and all(isinstance(label, int) for label in used):
        if wrong := sorted(label for label in used if label >= len(class_names)):
            raise InputError(
                f"{source}: label {shown(list(map(str, wrong)))}, but there are "
                f"{len(class_names)} classes from 0"
            )
        number_of |= {label: max(label, -1) for label in used}
    elif used:
        texts = {label: str(label) for label in used}
        class_names, numbers = file_list.number_labels(texts, classes)
        number_of |= {label: numbers[text] for label, text in texts.items()}
    else:
        class_names = None
    items = {
        split: [
            Item(name, number_of[label], size, location) for name, size, location, label in found
        ]
        for split, found in sorted(rows.items())
    }
    return ImageSet(items, class_names, "parquet", read_image, group_of=group_of)


def group_of(item: Item) -> tuple:
    """Returns file and row group of an item."""
    path, group, *_ = item.location
    return path, group


def read_image(location: tuple) -> bytes:
    """Returns the image file at (path, row group, row, column), empty where the row has none: how
    many have none the file's statistics tell, but of damaged ones Arrow's reader ends the process.
    """
    path, group, row, column = location
    return _group(path, group, column)[row].as_py() or b""


@functools.lru_cache(1)
def _group(path, group, column):
    """The bytes of a row group's images, as a chunked Arrow array: one chunk holds 2 GB at most."""
    import pyarrow
    import pyarrow.compute

    parquet = require_pyarrow()
    with (
        _told(path),
        parquet.ParquetFile(path, memory_map=True, page_checksum_verification=True) as file,
    ):
        images = file.read_row_group(group, columns=[column]).column(0)
    if pyarrow.types.is_struct(images.type):
        images = pyarrow.compute.struct_field(images, "bytes")
    return images


class _Table:
    """One file.

    Attributes:
      class_names: as its Hugging Face metadata say, or None.
      not_taken: the names of the columns that are not read.
    """

    def __init__(self, path, label_column, has_labels):
        import pyarrow

        self._path = os.fspath(path)
        with _told(path):
            self._file = require_pyarrow().ParquetFile(self._path, page_checksum_verification=True)
            schema = self._file.schema_arrow
        header = schema.names
        types = {name: schema.field(name).type for name in header}
        where = str(path)
        image = file_list.usual_column(where, _images_in(types), "images", _IMAGES)
        if image is None:
            raise InputError(
                f"{path}: no column of encoded images called image, img, ...; it has "
                f"{', '.join(f'{name} ({kind})' for name, kind in types.items())[:300]}"
            )
        self._is_struct = pyarrow.types.is_struct(types[image])
        self._image = f"{image}.bytes" if self._is_struct else image
        has_path = self._is_struct and types[image].get_field_index("path") >= 0
        others = [name for name in header if name != image]
        if label_column is not None and label_column not in others:
            raise InputError(f"--label_column={label_column}: {path} has {', '.join(others)}")
        told = _classes_told(schema.metadata or {})
        self._label = label_column if has_labels else None
        if has_labels and label_column is None:
            self._label = _label_column(where, others, told)
        if self._label is not None and pyarrow.types.is_nested(types[self._label]):
            raise InputError(
                f"{path}: its labels in {self._label!r} are {types[self._label]}, expected one "
                "number or name; choose another by --label_column, or say --labels=none"
            )
        self._name = f"{image}.path" if has_path else None
        if self._name is None:
            self._name = next((name for name in others if name.lower() in _NAMES), None)
        self.class_names = told.get(self._label)
        taken = (self._label, self._name)
        self.not_taken = tuple(name for name in others if name not in taken)

    def rows(self):
        """Yields (name, bytes on the average, location, label or None)."""
        columns = [name for name in (self._label, self._name) if name]
        with _told(self._path), self._file:
            yield from self._rows(columns)

    def _rows(self, columns):
        for group in range(self._file.num_row_groups):
            facts = self._file.metadata.row_group(group)
            count = facts.num_rows
            if count > os.path.getsize(self._path):
                raise ValueError(f"row group {group} of {count} rows, more than bytes")
            size = facts.total_byte_size // max(count, 1)
            table = self._file.read_row_group(group, columns=columns) if columns else None
            labels = _values(table, self._label, count)
            names = _values(table, self._name, count)
            for row, (label, name) in enumerate(zip(labels, names, strict=True)):
                text = name or f"{pathlib.Path(self._path).stem}/{group:05}-{row:05}"
                text = text if isinstance(text, (str, bytes)) else str(text)
                encoded = text if isinstance(text, bytes) else text.encode()
                yield encoded, size, (self._path, group, row, self._image), label


def _told(path):
    return told_as_damage(path, "not a whole Parquet file", "fetch it again")


def _images_in(types):
    """The columns whose type can hold encoded images."""
    import pyarrow

    def is_bytes(kind):
        return pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)

    return [
        name
        for name, kind in types.items()
        if is_bytes(kind)
        or (
            pyarrow.types.is_struct(kind)
            and kind.get_field_index("bytes") >= 0
            and is_bytes(kind.field("bytes").type)
        )
    ]


def _values(table, name, count):
    """The values of a column, or of a field of one; None for each row without it."""
    if name is None:
        return [None] * count
    column = table.column(name.partition(".")[0])
    values = column.to_pylist()
    if "." in name and name not in table.column_names:
        values = [value and value.get(name.partition(".")[2]) for value in values]
    return [int(v) if isinstance(v, (bool, np.integer)) else v for v in values]


def _classes_told(metadata):
    """Column -> names of its classes, as Hugging Face's description has them."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"].items()
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}
    told = {name: one.get("names") for name, one in features if isinstance(one, dict)}
    return {
        name: list(map(str, names))
        for name, names in told.items()
        if isinstance(names, list) and names
    }


def _label_column(where, others, told):
    """The column of classes of a usual name, or else the only one that is described as such."""
    usual = file_list.usual_column(
        where, others, "labels", file_list.LABEL_COLUMNS, "--label_column"
    )
    described = [name for name in others if name in told]
    if usual is not None or not described:
        return usual
    if len(described) > 1:
        raise InputError(f"{where}: choose one of {', '.join(described)} by --label_column")
    return described[0]

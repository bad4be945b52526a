"""Files of feature rows that other programs wrote: NumPy's `.npy` and `.npz`, Parquet.

Rows may say which image they are of, by file name or by index; `row_alignment` finds them.
"""

import abc
import pathlib
import tempfile

import numpy as np

from ccssl_tf.data import numpy_files
from ccssl_tf.runs.damage import told_as_damage
from ccssl_tf.runs.errors import InputError

# What arrays and columns are called, in lower case.
_FEATURES = ("features", "feature", "embeddings", "embedding", "vectors", "vector", "x")
_NAMES = ("filenames", "filename", "files", "file", "paths", "path", "names", "name", "file_name")
_INDICES = ("indices", "index", "image_index")
_SPLITS = ("splits", "split")
_ADVICE = "save the rows as a plain .npy, .npz or .parquet again"


class RowsFile(abc.ABC):
    """The rows of a file.

    Attributes:
      path: pathlib.Path of it.
      features: [N, D] array of numbers, mapped or in memory.
      names: N file names as bytes, or None.
      indices: [N] int64 image indices, or None.
      splits: N names of splits, or None.
    """

    path: pathlib.Path
    features: np.ndarray
    names: list[bytes] | None = None
    indices: np.ndarray | None = None
    splits: list[str] | None = None

    def check(self) -> None:
        """Raises InputError where the arrays are not [N, D] numbers and N names or indices."""
        features = self.features
        if features.ndim != 2 or features.dtype.kind not in "fiu" or not features.size:
            raise InputError(
                f"{self.path}: expected an array of numbers [N, D], found {features.dtype} "
                f"{list(features.shape)}"
            )
        for what, values in (
            ("filenames", self.names),
            ("indices", self.indices),
            ("splits", self.splits),
        ):
            if values is not None and len(values) != len(features):
                raise InputError(
                    f"{self.path}: {len(values)} {what} for {len(features)} rows of features"
                )


def open_rows(path: pathlib.Path) -> RowsFile:
    """Opens a file.

    Args:
      path: `.npy` with an array [N, D], which is mapped, not loaded; `.npz` of plain arrays, one of
        them `features` (or `embeddings`, ...), and perhaps `filenames`, `indices` and `splits`; or
        `.parquet` with a column of lists, or columns of numbers alone, and perhaps `filename`,
        `index` and `split`. Nothing is unpickled.

    Raises:
      InputError: no such file, or it holds no such arrays or columns.
      CorruptArtifactError: it is damaged.
    """
    if not path.is_file():
        raise InputError(f"--features_file={path}: no such file")
    kinds = {".npz": _NumpyArchive, ".parquet": _ParquetFile}
    rows = kinds.get(path.suffix.lower(), _NumpyArray)(path)
    rows.check()
    return rows


class _NumpyArray(RowsFile):
    def __init__(self, path):
        self.path = path
        self.features = numpy_files.read_array(path, mapped=True, advice=_ADVICE)


class _NumpyArchive(RowsFile):
    def __init__(self, path):
        self.path = path
        with numpy_files.ArrayArchive(path, advice=_ADVICE) as arrays:
            features = _usual(path, arrays, _FEATURES)
            if features is None:
                raise InputError(
                    f"{path}: holds no array `features`; an .npz needs one, [N, D]; it has "
                    f"{', '.join(arrays) or 'none'}"
                )
            self.features = arrays[features]
            name, index, split = (
                _usual(path, arrays, usual) for usual in (_NAMES, _INDICES, _SPLITS)
            )
            self.names = name and [_as_bytes(one) for one in arrays[name].ravel()]
            self.indices = None if index is None else _as_indices(path, arrays[index])
            self.splits = split and [str(one) for one in arrays[split].ravel()]


class _ParquetFile(RowsFile):
    """Row group by row group into an array that is mapped from a temporary file without name: the
    memory holds one row group, the disk 4 bytes a number.
    """

    def __init__(self, path):
        try:
            from pyarrow import parquet
        except ImportError as error:
            raise InputError(
                f"--features_file={path}: needs pyarrow (pip install -e '.[parquet]')"
            ) from error
        self.path = path
        with (
            told_as_damage(path, "damaged, or not a Parquet file", _ADVICE),
            parquet.ParquetFile(path) as file,
        ):
            self._read(file)

    def _read(self, file):
        import pyarrow

        schema = file.schema_arrow
        columns = {name: schema.field(name).type for name in schema.names}
        name, index, split = (
            _usual(self.path, columns, usual) for usual in (_NAMES, _INDICES, _SPLITS)
        )
        lists = [
            column
            for column, kind in columns.items()
            if pyarrow.types.is_list(kind)
            or pyarrow.types.is_large_list(kind)
            or pyarrow.types.is_fixed_size_list(kind)
        ]
        usual = _usual(self.path, lists, _FEATURES)
        if usual is None and len(lists) > 1:
            raise InputError(
                f"{self.path}: the columns {', '.join(lists)} may all be the features; call one "
                "features"
            )
        single = usual or next(iter(lists), None)
        numbers = [
            column
            for column, kind in columns.items()
            if column not in (name, index, split)
            and (pyarrow.types.is_floating(kind) or pyarrow.types.is_integer(kind))
        ]
        if single is None and not numbers:
            raise InputError(
                f"{self.path}: no column of lists and none of numbers; it has {', '.join(columns)}"
            )
        count, start, rows = file.metadata.num_rows, 0, None
        names, indices, splits = [], [], []
        for group in range(file.num_row_groups):
            wanted = [*([single] if single else numbers)]
            wanted += [column for column in (name, index, split) if column]
            table = file.read_row_group(group, columns=wanted)
            block = _block(self.path, table, single, numbers, group)
            if rows is None:
                rows = _mapped((count, block.shape[1]))
            if block.shape[1] != rows.shape[1]:
                raise InputError(
                    f"{self.path}: rows of {block.shape[1]} and of {rows.shape[1]} numbers"
                )
            rows[start : start + len(block)] = block
            start += len(block)
            names += table.column(name).to_pylist() if name else []
            indices += table.column(index).to_pylist() if index else []
            splits += table.column(split).to_pylist() if split else []
        self.features = np.empty([0, 0], np.float32) if rows is None else rows
        self.names = [_as_bytes(one) for one in names] if name else None
        self.indices = _as_indices(self.path, np.array(indices)) if index else None
        self.splits = [str(one) for one in splits] if split else None


def _block(path, table, single, numbers, group):
    """[n, D] float32 of a row group."""
    if single is None:
        arrays = [table.column(column).to_numpy() for column in numbers]
        return np.stack(arrays, 1).astype(np.float32)
    column = table.column(single).combine_chunks()
    if column.null_count:
        raise InputError(f"{path}: row group {group}: {column.null_count} rows without features")
    values = column.flatten().to_numpy(zero_copy_only=False)
    if values.dtype.kind not in "fiu":
        raise InputError(f"{path}: its column {single} holds no numbers but {values.dtype}")
    if len(values) % max(len(column), 1):
        raise InputError(f"{path}: row group {group}: rows of different numbers of features")
    return values.reshape(len(column), -1).astype(np.float32)


def _mapped(shape):
    """An array in a temporary file that goes with it."""
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.float32, "w+", shape=shape)


def _usual(path, keys, usual):
    """The key of a usual name, in any case; None where there is none."""
    fitting = [key for key in keys if key.lower() in usual]
    if len(fitting) > 1:
        fitting = [key for key in fitting if key == usual[0]] or fitting
    if len(fitting) > 1:
        raise InputError(f"{path}: {', '.join(fitting)} may mean the same; keep one")
    return fitting[0] if fitting else None


def _as_bytes(name):
    return name if isinstance(name, bytes) else str(name).encode("utf-8", "surrogateescape")


def _as_indices(path, values):
    if values.dtype.kind not in "iu" or values.ndim != 1:
        raise InputError(f"{path}: its indices are {values.dtype}, not whole numbers")
    return values.astype(np.int64)

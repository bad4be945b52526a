"""NumPy's `.npy` and `.npz` files: the one reader of them, which unpickles nothing.

What a header tells is compared with the bytes that are there before memory is asked for. The
members of an `.npz` have checksums; an `.npy` has none, so that of its numbers only their type and
number are sure.
"""

import math
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import IO, NamedTuple

import numpy as np

from ccssl_tf.data.archives import open_zip
from ccssl_tf.runs.damage import told_as_damage
from ccssl_tf.runs.errors import InputError

# Rows of counts or of one-hot vectors, packed, are well below this.
_MOST_EXPANSION = 100
_ADVICE = "make it again with numpy.save or numpy.savez"
_NO_ARRAY = "damaged, or not an array saved by numpy.save"


class Header(NamedTuple):
    """What an array's file says of it.

    Attributes:
      shape: its shape.
      fortran_order: whether the first index counts fastest.
      dtype: the type of its elements, without objects.
      offset: of the first element in the file, bytes.
    """

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype
    offset: int


def read_array(
    path: str | os.PathLike, *, mapped: bool = False, advice: str = _ADVICE
) -> np.ndarray:
    """Returns the array of an `.npy` file.

    Args:
      path: of the file.
      mapped: whether the system reads of it what is used, instead of all at once.
      advice: what to do with a damaged file, as the message ends.

    Raises:
      InputError: no such file, or an `.npz`.
      CorruptArtifactError: it is damaged, or something else.

    >>> read_array("centroids.npy").shape
    (2000, 9600)
    """
    if not pathlib.Path(path).is_file():
        raise InputError(f"{path}: no such file")
    with told_as_damage(path, _NO_ARRAY, advice), open(path, "rb") as file:
        if file.read(2) == b"PK":
            raise InputError(f"{path}: an archive of arrays, not one; call it .npz")
        header = _header(file, os.fstat(file.fileno()).st_size)
        if not mapped:
            return _array(file)
        return np.memmap(
            path,
            header.dtype,
            "r",
            header.offset,
            header.shape,
            order="F" if header.fortran_order else "C",
        )


class ArrayArchive(Mapping[str, np.ndarray]):
    """The arrays of an `.npz` file by name, each read whole, and checked, when it is asked for.

    >>> with ArrayArchive("features.npz") as arrays:
    ...     arrays["features"].shape
    (1281167, 512)
    """

    def __init__(
        self, path: str | os.PathLike, *, what: str = "damaged, or no .npz", advice: str = _ADVICE
    ):
        """Opens a file.

        Args:
          path: of the file.
          what: a file that is none is said to be, as in `told_as_damage`.
          advice: what to do with a damaged one, as the message ends.

        Raises:
          InputError: no such file.
          CorruptArtifactError: it is damaged, no `.npz`, or unpacks to over 100 times its size.
        """
        if not pathlib.Path(path).is_file():
            raise InputError(f"{path}: no such file")
        self._path, self._advice = path, advice
        with told_as_damage(path, what, advice):
            self._zip = open_zip(path, _MOST_EXPANSION, advice)
            names = [member.filename for member in self._zip.infolist()]
        self._members = {name.removesuffix(".npy"): name for name in names}

    def __enter__(self) -> "ArrayArchive":
        return self

    def __exit__(self, *unused) -> None:
        self._zip.close()

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def __getitem__(self, name: str) -> np.ndarray:
        """Returns an array; raises KeyError, or CorruptArtifactError where it is damaged."""
        member = self._members[name]
        with self._told(name), self._zip.open(member) as file:
            _header(file, self._zip.getinfo(member).file_size)
            return _array(file)

    def header(self, name: str) -> Header:
        """Returns what the file says of an array, which is not read; raises as `[name]` does."""
        member = self._members[name]
        with self._told(name), self._zip.open(member) as file:
            return _header(file, self._zip.getinfo(member).file_size)

    def _told(self, name):
        shown = name if name.isprintable() else ascii(name)
        return told_as_damage(f"{self._path}: {shown}", "damaged", self._advice)


def _header(file: IO[bytes], size: int) -> Header:
    """The header of an array in a file of `size` bytes."""
    file.seek(0)
    try:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, fortran_order, dtype = read(file)
    except MemoryError as error:  # Of Python's parser, for brackets inside one another.
        raise ValueError("a header that cannot be read") from error
    if dtype.hasobject:
        raise ValueError("holds Python objects, not numbers or texts")
    offset, length = file.tell(), math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or offset + length != size:
        raise ValueError(f"{size} bytes, where {dtype} {list(shape)} takes {offset + length}")
    return Header(shape, fortran_order, dtype, offset)


def _array(file: IO[bytes]) -> np.ndarray:
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)

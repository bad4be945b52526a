r"""`images.csv`: which image has which index, for people and programs that bring features or labels
of their own. This module does not import TensorFlow.

Columns: index (dense in [0, N) in each split), filename, split, label (-1: none), class (its name).
File names are bytes: those that are no UTF-8 and control characters are written as `\xNN`, and a
backslash is written twice; `filename_of` gives the bytes back.
"""

import csv
import os
import pathlib
import re
from collections.abc import Iterable, Iterator

from ccssl_tf.runs.errors import CorruptArtifactError
from ccssl_tf.runs.files import write_csv

NAME = "images.csv"
COLUMNS = ("index", "filename", "split", "label", "class")
_ESCAPE = re.compile(r"\\(\\|x[0-9a-f]{2})")


def text_of(filename: bytes) -> str:
    r"""Returns a file name as a printable text that `filename_of` turns back.

    >>> text_of(b"caf\xe9\n.jpg"), filename_of("caf\\xe9\\x0a.jpg")
    ('caf\\xe9\\x0a.jpg', b'caf\xe9\n.jpg')
    """
    text = filename.decode("utf-8", "surrogateescape").replace("\\", "\\\\")
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char):
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))


def filename_of(text: str) -> bytes:
    """Returns the file name that `text_of` wrote."""
    parts, end = [], 0
    for match in _ESCAPE.finditer(text):
        parts.append(text[end : match.start()].encode())
        code = match[1]
        parts.append(b"\\" if code == "\\" else bytes([int(code[1:], 16)]))
        end = match.end()
    return b"".join(parts) + text[end:].encode()


def row(index: int, filename: bytes, split: str, label: int, class_names) -> list:
    """Returns the row of an image; `class_names` may be None."""
    name = class_names[label] if class_names and label >= 0 else ""
    return [index, text_of(filename), split, label, name]


def write(directory: str | os.PathLike, rows: Iterable[list]):
    """Writes the rows below the header, wholly or not at all."""
    write_csv(pathlib.Path(directory) / NAME, COLUMNS, rows)


def read(directory: str | os.PathLike) -> Iterator[list[str]]:
    """Yields the rows in the file's order: by split, by index.

    Raises:
      CorruptArtifactError: it is damaged.
      FileNotFoundError: there is none; data sets converted by older versions have none.
    """
    path = pathlib.Path(directory) / NAME
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, None)
            if header != list(COLUMNS):
                raise CorruptArtifactError(f"{path}: its header is {header}, expected {COLUMNS}")
            for fields in reader:
                if len(fields) != len(COLUMNS) or not fields[0].isdecimal():
                    raise CorruptArtifactError(
                        f"{path}: line {reader.line_num}: {','.join(fields)[:60]!r}, expected "
                        f"{', '.join(COLUMNS)}"
                    )
                yield fields
    except (csv.Error, UnicodeDecodeError) as error:
        raise CorruptArtifactError(
            f"{path}: damaged ({error}); convert the images again"
        ) from error


def filenames(directory: str | os.PathLike, split: str, count: int) -> list[bytes]:
    """Returns the file name of every image of a split, by index.

    Args:
      directory: of the images.
      split: name of the split.
      count: number of its images.

    Raises:
      CorruptArtifactError: the file is damaged or of other images.
      FileNotFoundError: there is none.
    """
    names = [filename_of(fields[1]) for fields in read(directory) if fields[2] == split]
    if len(names) != count:
        raise CorruptArtifactError(
            f"{pathlib.Path(directory) / NAME}: {len(names)} images of split {split} instead of "
            f"{count}; convert the images again"
        )
    return names

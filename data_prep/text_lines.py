"""The lines of lists that editors and spreadsheets wrote: with or without a byte order mark, in
UTF-8 or, behind its mark, UTF-16; with any end of line.
"""

import codecs
import io
import pathlib
from collections.abc import Iterator
from typing import IO

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def open_text(path: str | pathlib.Path, newline: str = "") -> IO[str]:
    """Opens a list for reading; bytes that are no UTF-8 become surrogates, as in file names.

    Args:
      path: of the list.
      newline: as in `open`; by default as `csv` wants it.
    """
    with open(path, "rb") as file:
        encoding = _encoding(file.read(4))
    return open(path, newline=newline, encoding=encoding, errors=_errors(encoding))


def lines_of(data: bytes) -> list[bytes]:
    """Returns the lines of a list's bytes as UTF-8, without their ends."""
    encoding = _encoding(data[:4])
    with io.TextIOWrapper(io.BytesIO(data), encoding, _errors(encoding), "\n") as text:
        return [_bytes(line) for line in text]


def read_lines(path: str | pathlib.Path) -> Iterator[bytes]:
    """Yields the lines of a file as UTF-8, without their ends."""
    with open_text(path, newline="\n") as file:
        yield from map(_bytes, file)


def _encoding(start):
    return "utf-16" if start.startswith(_UTF16) else "utf-8-sig"


def _errors(encoding):
    return "replace" if encoding == "utf-16" else "surrogateescape"


def _bytes(line):
    return line.rstrip("\r\n").encode("utf-8", "surrogateescape")

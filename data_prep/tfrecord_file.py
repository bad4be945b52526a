"""TFRecord files that others wrote, read record by record with their checksums, in order or at
random.

A record is its length (8 bytes), the masked CRC-32C of these, its data, and theirs.
"""

import os
import pathlib
from collections.abc import Iterator

import google_crc32c

from ccssl_tf.runs.errors import InputError
from data_prep import locations
from data_prep.faults import Faults

_HEADER, _FOOTER = 12, 4
_MASK = 0xA282EAD8
_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x78\x01": "zlib", b"\x78\x9c": "zlib", b"\x78\xda": "zlib"}
_AGAIN = "fetch it again, or prepare the data set again"


def read_records(path: str | pathlib.Path, faults: Faults) -> Iterator[tuple[tuple, bytes]]:
    """Yields (location, data) of every record of a file; `read_record` takes the location.

    Records whose data have another checksum are left out and told; behind one whose length is
    damaged nothing can be read, which is told, too.

    Args:
      path: of the file.
      faults: where they are told.
    """
    path = os.fspath(path)
    end, offset, number = os.path.getsize(path), 0, 0
    with open(path, "rb") as file:
        while offset < end:
            header = file.read(_HEADER)
            size = int.from_bytes(header[:8], "little")
            if len(header) < _HEADER or not _is_sum(header[8:], header[:8]):
                kind = None if offset else _COMPRESSED.get(header[:2])
                faults.add(
                    f"{path}: compressed with {kind}; decompress it"
                    if kind
                    else f"{path}: truncated or damaged at byte {offset} (record {number}: its "
                    "length)"
                )
                return
            if offset + _HEADER + size + _FOOTER > end:
                faults.add(f"{path}: truncated at byte {offset} (record {number})")
                return
            data = file.read(size)
            if _is_sum(file.read(_FOOTER), data):
                yield (path, offset + _HEADER, size), data
            else:
                faults.add(f"{path}: damaged at byte {offset} (record {number}: its checksum)")
            offset, number = offset + _HEADER + size + _FOOTER, number + 1


def begins_like_one(path: str | pathlib.Path) -> bool:
    """Whether a file begins with a length and its checksum."""
    with open(path, "rb") as file:
        header = file.read(_HEADER)
    return len(header) == _HEADER and _is_sum(header[8:], header[:8])


def read_record(location: tuple) -> bytes:
    """Returns the data of the record at (path, offset of its data, size of its data).

    Raises:
      InputError: they were changed since `read_records` read them.
    """
    path, offset, size = location
    data = locations.read_location((path, offset, size + _FOOTER))
    if not _is_sum(data[size:], data[:size]):
        raise InputError(f"{path}: damaged at byte {offset - _HEADER}; {_AGAIN}")
    return data[:size]


def _is_sum(stored, data):
    """Whether four bytes are the masked checksum of others."""
    value = google_crc32c.value(data)
    masked = ((value >> 15 | value << 17) + _MASK) & 0xFFFFFFFF
    return masked == int.from_bytes(stored, "little") and len(stored) == 4

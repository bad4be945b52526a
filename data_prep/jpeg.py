"""What a JPEG says of itself, and whether the whole of it decodes.

Almost every image of a large set is a sound JPEG that is stored as it is. Its header is read here,
without Pillow, and its entropy-coded data is walked through by libjpeg-turbo at an eighth of the
size, which skips the transform but none of the bits; both take less time than decoding. What that
decoder complains about goes to TensorFlow's, since training uses it; it is imported only then.
"""

import contextlib
import functools
import os
import re
import sys
import tempfile
from typing import NamedTuple

import simplejpeg

from ccssl_tf.runs.errors import CcsslError

_JPEG_WARNINGS = ("Corrupt JPEG data", "Premature end of JPEG", "Inconsistent progression")
_STRAY_BYTES = re.compile(r"(\d+) extraneous bytes before marker")
_MOST_STRAY_BYTES = 0.01  # Of the file.

_START_OF_SCAN, _APP1 = 0xDA, 0xE1
# Bytes of a whole block of metadata, with its two of length; Adobe's has two less.
_SHORTEST_BLOCK = 16
# Baseline, extended and progressive, all Huffman-coded; arithmetic coding and lossless frames are
# rare and not decoded everywhere.
_HUFFMAN_FRAMES = (0xC0, 0xC1, 0xC2)
_OTHER_FRAMES = (0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)


class BadImage(CcsslError):
    """The bytes are no usable image; the message says why, the caller knows the name."""


class Header(NamedTuple):
    """The one frame of a Huffman-coded 8-bit JPEG.

    Attributes:
      height: pixels.
      width: pixels.
      components: 1 (grey), 3 (colour) or 4.
      has_metadata: EXIF or XMP that may ask for a rotation is attached, or a block so short that
        some readers fall over it.
    """

    height: int
    width: int
    components: int
    has_metadata: bool


def read_header(data: bytes) -> Header | None:
    """Returns the header of a JPEG of the common kind, read up to the first scan; None for
    everything else, broken files too.
    """
    if data[:2] != b"\xff\xd8":
        return None
    position, frame, has_metadata = 2, None, False
    try:
        while True:
            if data[position] != 0xFF:
                return None
            marker = data[position + 1]
            if marker == _START_OF_SCAN:
                return frame and Header(*frame, has_metadata)
            length = data[position + 2] << 8 | data[position + 3]
            if marker in _HUFFMAN_FRAMES:
                precision, height, width = (
                    data[position + 4],
                    *(data[k] << 8 | data[k + 1] for k in (position + 5, position + 7)),
                )
                if frame or precision != 8 or not height or not width:
                    return None
                frame = height, width, data[position + 9]
            elif (
                marker in _OTHER_FRAMES or marker < 0xC0 or length < 2
            ):  # Fill bytes and markers without a length are not of the common kind.
                return None
            elif marker == _APP1:
                has_metadata = has_metadata or (
                    data.startswith(b"Exif", position + 4)
                    or data.find(b"tiff:Orientation", position + 4, position + 2 + length) >= 0
                )
            if 0xE0 <= marker <= 0xEF and length < _SHORTEST_BLOCK - 2 * (marker == 0xEE):
                has_metadata = True
            position += 2 + length
    except IndexError:
        return None


def read_precision(data: bytes) -> int | None:
    """Returns the bits of a JPEG's pixels, from the first frame's header; None without one."""
    position = 2
    while data[:2] == b"\xff\xd8" and position + 5 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker in _HUFFMAN_FRAMES or marker in _OTHER_FRAMES:
            return data[position + 4]
        position += 2 + (data[position + 2] << 8 | data[position + 3])
    return None


def check_strictly(data: bytes, header: Header | None = None):
    """Raises BadImage where libjpeg-turbo so much as warns about the entropy-coded data
    of a JPEG.
    """
    del header
    try:
        # The smallest scale there is: an eighth.
        simplejpeg.decode_jpeg(data, "RGB", min_height=1, min_width=1, min_factor=1)
    except ValueError as error:
        raise BadImage(f"corrupt JPEG ({error})") from error


def check(data: bytes, header: Header | None):
    """Raises BadImage unless TensorFlow decodes the whole JPEG: training uses its decoder, so its
    strictness counts.

    TensorFlow goes on where libjpeg only warns, although half the picture may be noise then; a
    warning is therefore as bad as an error, but for a few stray bytes between the picture and the
    next marker, which some cameras and ImageNet itself have.

    Args:
      data: the file.
      header: what `read_header` said of it.
    """
    if header is not None and header.components in (1, 3):
        with contextlib.suppress(BadImage):
            return check_strictly(data)
    import tensorflow as tf

    with _stderr_of_decoder() as said:
        try:
            tf.io.decode_jpeg(data, channels=3)
        except tf.errors.InvalidArgumentError as error:
            raise BadImage("truncated or corrupt JPEG") from error
    for warning in (line for line in said if line.startswith(_JPEG_WARNINGS)):
        stray = _STRAY_BYTES.search(warning)
        if stray is None or int(stray[1]) > _MOST_STRAY_BYTES * len(data):
            raise BadImage(f"corrupt JPEG ({warning.removeprefix('Corrupt JPEG data: ')})")


@functools.cache
def _scratch_file() -> int:
    """The descriptor of this process's unnamed file for what C code says; made once, for there is
    one image after the other.
    """
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


@contextlib.contextmanager
def _stderr_of_decoder():
    """Yields a list that holds, after the block, the lines C code wrote to stderr in it: libjpeg
    has no other way to warn here.
    """
    lines, scratch, saved = [], _scratch_file(), os.dup(2)
    sys.stderr.flush()
    os.dup2(scratch, 2)
    try:
        yield lines
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        size = os.fstat(scratch).st_size
        if size:
            lines += os.pread(scratch, size, 0).decode(errors="replace").splitlines()
            os.ftruncate(scratch, 0)
            os.lseek(scratch, 0, os.SEEK_SET)

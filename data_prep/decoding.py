"""Every source image becomes an RGB JPEG that TensorFlow decodes without complaint, or is named as bad.

An upright 3-component JPEG keeps its bytes; everything else is decoded with Pillow and encoded again, and counted by reason.
TensorFlow is imported only by `check_jpeg`, which runs in the worker processes.
"""

import contextlib
import dataclasses
import functools
import io
import os
import re
import sys
import tempfile
import warnings

import numpy as np
from PIL import Image, ImageChops, ImageOps

from ccssl_tf.errors import CcsslError

JPEG_QUALITY = 95
# Formats are named so that Pillow never starts an external program (EPS) or an exotic decoder on hostile bytes.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_JPEG_FORMATS = ("JPEG", "MPO")  # MPO: a JPEG with further pictures behind it, as some cameras write.
_EXIF_ORIENTATION = 0x0112
_JPEG_WARNINGS = ("Corrupt JPEG data", "Premature end of JPEG", "Inconsistent progression")
_STRAY_BYTES = re.compile(r"(\d+) extraneous bytes before marker")
_MOST_STRAY_BYTES = 0.01  # Of the file.

# Sizes are compared with --max_pixels before anything is decoded; Pillow's own limit would only double that.
Image.MAX_IMAGE_PIXELS = None
# What Pillow has to say about odd metadata is no news to the user of a million images.
warnings.filterwarnings("ignore", module="PIL")
# Without this only some of the formats are known to `Image.open`.
Image.init()


class BadImage(CcsslError):
    """The bytes are no usable image; the message says why, the caller knows the name."""


@dataclasses.dataclass(frozen=True)
class DecodeOptions:
    """What is accepted and how it is stored.

    Attributes:
      resize_short_side: pixels the short side is reduced to when it is longer; 0 keeps every size.
      max_pixels: larger images are bad, by their header, undecoded.
      min_side: images with a shorter side (pixels) are bad.
    """

    resize_short_side: int = 0
    max_pixels: int = 100_000_000
    min_side: int = 1


@dataclasses.dataclass(frozen=True)
class ConvertedImage:
    """RGB JPEG bytes, their height and width in pixels, and why they differ from the source's (empty: they do not)."""

    encoded: bytes
    height: int
    width: int
    reasons: tuple[str, ...]


def convert_image(data: bytes, options: DecodeOptions, *, check=None) -> ConvertedImage:
    """Turns the bytes of one image file into an upright RGB JPEG.

    Grey, CMYK (also Adobe's inverted kind), palette and 16-bit pictures become 8-bit RGB; transparency is laid over white; of an
    animation the first frame is kept; EXIF rotation is applied. Colour profiles are ignored, as TensorFlow does.

    Args:
      data: the file.
      options: limits and target size.
      check: called with the bytes of every JPEG; raises BadImage where training could not decode it (see `check_jpeg`).

    Raises:
      BadImage: not an image, broken, or outside the limits.
    """
    if not data:
        raise BadImage("empty file")
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except MemoryError:
        raise
    except Exception as error:  # Decoders raise anything on hostile bytes.
        raise BadImage(f"not an image (starts with {data[:12]!r})") from error
    width, height = image.size
    if width * height > options.max_pixels:
        raise BadImage(f"{width}x{height} pixels, more than --max_pixels={options.max_pixels}")
    if min(width, height) < options.min_side:
        raise BadImage(f"{width}x{height} pixels, shorter than --min_side={options.min_side}")
    is_jpeg = image.format in _JPEG_FORMATS
    if is_jpeg and check is not None:
        check(data)
    try:
        if image.format == "PNG":
            image.verify()  # Its checksums; decoding alone would not look at them. An image is used up by that.
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
        reasons = _reasons(image, options)
        if is_jpeg and not reasons:
            if check is None:
                image.load()
            return ConvertedImage(data, height, width, ())
        image = _to_upright_rgb(image, options)
        encoded = io.BytesIO()
        image.save(encoded, "JPEG", quality=JPEG_QUALITY)
    except (MemoryError, BadImage):
        raise
    except Exception as error:
        raise BadImage(f"broken {image.format or 'image'} ({error})") from error
    return ConvertedImage(encoded.getvalue(), image.height, image.width, reasons)


def check_jpeg(data: bytes):
    """Raises BadImage unless TensorFlow decodes the whole JPEG: training uses its decoder, so its strictness counts.

    TensorFlow goes on where libjpeg only warns, although half the picture may be noise then; a warning is therefore as bad as an error,
    but for a few stray bytes between the picture and the next marker, which some cameras and ImageNet itself have.
    """
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
    """The descriptor of this process's unnamed file for what C code says; made once, for there is one image after the other."""
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


@contextlib.contextmanager
def _stderr_of_decoder():
    """Yields a list that holds, after the block, the lines C code wrote to stderr in it: libjpeg has no other way to warn here."""
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


def printable(name: bytes) -> str:
    """Returns a file name as one printable line."""
    text = os.fsdecode(name)
    return text if text.isprintable() else ascii(text)[1:-1]


def _reasons(image, options):
    reasons = []
    if image.format not in _JPEG_FORMATS:
        reasons.append(image.format.lower())
    if image.mode != "RGB":
        reasons.append({"L": "grey", "CMYK": "cmyk", "P": "palette", "RGBA": "alpha", "LA": "alpha"}.get(image.mode, "other_mode"))
    if image.getexif().get(_EXIF_ORIENTATION, 1) in range(2, 9):
        reasons.append("exif_rotated")
    if 0 < options.resize_short_side < min(image.size):
        reasons.append("resized")
    return tuple(reasons)


def _to_upright_rgb(image, options):
    size = image.size
    if 0 < options.resize_short_side < min(size):
        scale = options.resize_short_side / min(size)
        size = tuple(max(1, round(side * scale)) for side in size)
        # A JPEG may be decoded at a half, quarter or eighth; twice the target leaves the resampling its antialiasing.
        image.draft(None, (2 * size[0], 2 * size[1]))
    image.load()
    orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    rgb = _to_rgb(image)
    if rgb.size != size:
        rgb = rgb.resize(size, Image.Resampling.BICUBIC)
    if orientation in range(2, 9):
        rgb.getexif()[_EXIF_ORIENTATION] = orientation
        rgb = ImageOps.exif_transpose(rgb)
    rgb.info.clear()
    return rgb


def _to_rgb(image):
    if image.mode == "F":
        raise BadImage("floating-point pixels have no defined range")
    if image.mode.startswith("I"):
        pixels = np.asarray(image).astype(np.int64)
        if pixels.min() < 0 or pixels.max() > 0xFFFF:
            raise BadImage("32-bit pixels have no defined range")
        return Image.fromarray((pixels >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "CMYK" and image.format in _JPEG_FORMATS and "adobe" not in image.info:
        image = ImageChops.invert(image)  # Pillow takes every CMYK JPEG for Adobe's inverted kind.
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")

"""Every source image becomes an RGB JPEG that TensorFlow decodes without complaint, or is named as
bad.

An upright 3-component JPEG keeps its bytes (see `jpeg`); everything else is decoded with Pillow and
encoded again, and counted by reason.
"""

import dataclasses
import io
import os
import warnings
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageChops, ImageOps

from data_prep import jpeg
from data_prep.jpeg import BadImage

JPEG_QUALITY = 95
# Formats are named so that Pillow never starts an external program (EPS) or an exotic decoder on
# hostile bytes.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_JPEG_FORMATS = (
    "JPEG",
    "MPO",
)  # MPO: a JPEG with further pictures behind it, as some cameras write.
_EXIF_ORIENTATION = 0x0112

# Sizes are compared with --max_pixels before anything is decoded; Pillow's own limit would only
# double that.
Image.MAX_IMAGE_PIXELS = None
# What Pillow has to say about odd metadata is no news to the user of a million images.
warnings.filterwarnings("ignore", module="PIL")
# Without this only some of the formats are known to `Image.open`.
Image.init()


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

    def reduces(self, height: int, width: int) -> bool:
        """Whether an image of this size is to be made smaller."""
        return 0 < self.resize_short_side < min(height, width)

    def check_size(self, height: int, width: int):
        """Raises BadImage where the size is outside the limits."""
        if width * height > self.max_pixels:
            raise BadImage(f"{width}x{height} pixels, more than --max_pixels={self.max_pixels}")
        if min(width, height) < self.min_side:
            raise BadImage(f"{width}x{height} pixels, shorter than --min_side={self.min_side}")


@dataclasses.dataclass(frozen=True)
class ConvertedImage:
    """RGB JPEG bytes, their height and width in pixels, and why they differ from the source's
    (empty: they do not).
    """

    encoded: bytes
    height: int
    width: int
    reasons: tuple[str, ...]


def convert_image(
    data: bytes,
    options: DecodeOptions,
    *,
    check_jpeg: Callable[[bytes, jpeg.Header], None] = jpeg.check,
) -> ConvertedImage:
    """Turns the bytes of one image file into an upright RGB JPEG.

    Grey, CMYK (also Adobe's inverted kind), palette and 16-bit pictures become 8-bit RGB;
    transparency is laid over white; of an animation the first frame is kept; EXIF rotation is
    applied. Colour profiles are ignored, as TensorFlow does.

    Args:
      data: the file.
      options: limits and target size.
      check_jpeg: called with the bytes and header of every JPEG; raises BadImage where it is
        broken.

    Raises:
      BadImage: not an image, broken, or outside the limits.
    """
    if not data:
        raise BadImage("empty file")
    header = jpeg.read_header(data)
    if (
        header is not None
        and header.components == 3
        and not header.has_metadata
        and not options.reduces(header.height, header.width)
    ):
        options.check_size(header.height, header.width)
        check_jpeg(data, header)
        return ConvertedImage(data, header.height, header.width, ())
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except MemoryError:
        raise
    except Exception as error:  # Decoders raise anything on hostile bytes.
        raise BadImage(f"not an image (starts with {data[:12]!r})") from error
    options.check_size(image.height, image.width)
    if image.format in _JPEG_FORMATS:
        check_jpeg(data, header)
    try:
        if image.format == "PNG":
            # Its checksums; decoding alone would not look at them. An image is used up by that.
            image.verify()
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
        reasons = _reasons(image, options)
        if image.format in _JPEG_FORMATS and not reasons:
            return ConvertedImage(data, image.height, image.width, ())
        image = _to_upright_rgb(image, options)
        encoded = io.BytesIO()
        image.save(encoded, "JPEG", quality=JPEG_QUALITY)
    except (MemoryError, BadImage):
        raise
    except Exception as error:
        raise BadImage(f"broken {image.format or 'image'} ({error})") from error
    return ConvertedImage(encoded.getvalue(), image.height, image.width, reasons)


def printable(name: bytes) -> str:
    """Returns a file name as one printable line."""
    text = os.fsdecode(name)
    return text if text.isprintable() else ascii(text)[1:-1]


def _reasons(image, options):
    reasons = []
    if image.format not in _JPEG_FORMATS:
        reasons.append(image.format.lower())
    if image.mode != "RGB":
        reasons.append(
            {"L": "grey", "CMYK": "cmyk", "P": "palette", "RGBA": "alpha", "LA": "alpha"}.get(
                image.mode, "other_mode"
            )
        )
    if image.getexif().get(_EXIF_ORIENTATION, 1) in range(2, 9):
        reasons.append("exif_rotated")
    if options.reduces(*image.size):
        reasons.append("resized")
    return tuple(reasons)


def _to_upright_rgb(image, options):
    size = image.size
    if options.reduces(*size):
        scale = options.resize_short_side / min(size)
        size = tuple(max(1, round(side * scale)) for side in size)
        # A JPEG may be decoded at a half, quarter or eighth; twice the target leaves the resampling
        # its antialiasing.
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

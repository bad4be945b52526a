"""Every source image becomes an RGB JPEG that TensorFlow decodes without complaint, or is named as
bad.

An upright 3-component JPEG keeps its bytes (see `jpeg`); everything else is decoded with Pillow and
encoded again, and counted by reason.
"""

import contextlib
import dataclasses
import io
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator

from PIL import Image, ImageChops

from data_prep import image_container, jpeg, pixel_range
from data_prep.jpeg import BadImage

JPEG_QUALITY = 95
_ORIENTATION = 0x0112  # EXIF's tag.
# Formats are named so that Pillow never starts an external program (EPS) or an exotic decoder on
# hostile bytes.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
_TRANSPOSED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Short sides (pixels) below this make an image a small one.
SMALL_SIDE = 128
_SUBSAMPLINGS = {"444": 0, "422": 1, "420": 2}

# Sizes are compared with --max_pixels before anything is decoded; Pillow's own limit would only
# double that.
Image.MAX_IMAGE_PIXELS = None
# What Pillow has to say about odd metadata is no news to the user of a million images.
warnings.filterwarnings("ignore", module="PIL")
# Without this only some of the formats are known to `Image.open`.
Image.init()
with contextlib.suppress(ImportError):  # Only the extra `heif` brings it.
    from pillow_heif import register_heif_opener

    register_heif_opener()


@dataclasses.dataclass(frozen=True)
class DecodeOptions:
    """What is accepted and how it is stored.

    Attributes:
      resize_short_side: pixels the short side is reduced to when it is longer; 0 keeps every size.
      max_pixels: larger images are bad, by their header, undecoded.
      min_side: images with a shorter side (pixels) are bad.
      chroma_subsampling: how colours are stored where an image is encoded again: "444", "422" or
        "420" (a colour for each pixel, for two, for four); "auto": "444" for those whose short side
        is below 128 pixels, which lose much by less and gain few bytes, else "420".
    """

    resize_short_side: int = 0
    max_pixels: int = 100_000_000
    min_side: int = 1
    chroma_subsampling: str = "auto"

    def reduces(self, height: int, width: int) -> bool:
        """Whether an image of this size is to be made smaller."""
        return 0 < self.resize_short_side < min(height, width)

    def subsampling(self, height: int, width: int) -> int:
        """Returns Pillow's number of the chroma subsampling for an image of this size."""
        small = min(height, width) < SMALL_SIDE
        name = self.chroma_subsampling
        return _SUBSAMPLINGS[("444" if small else "420") if name == "auto" else name]

    def check_size(self, height: int, width: int):
        """Raises BadImage where the size is outside the limits."""
        if width * height > self.max_pixels:
            raise BadImage(f"{width}x{height} pixels, more than --max_pixels={self.max_pixels}")
        if min(width, height) < self.min_side:
            raise BadImage(f"{width}x{height} pixels, shorter than --min_side={self.min_side}")


@dataclasses.dataclass(frozen=True)
class ConvertedImage:
    """RGB JPEG bytes, their height and width in pixels, and why they differ from the source's
    (empty: they do not; "metadata": only by blocks that cannot be read, which are left out).
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

    Grey of any depth (see `pixel_range`), CMYK (also Adobe's inverted kind), palette and 16-bit
    pictures become 8-bit RGB; transparency is laid over white; of an animation the first frame is
    kept; the orientation that EXIF, or else XMP, tells is applied. Colour profiles are ignored, as
    TensorFlow does. Metadata that cannot be read is as if it were not there.

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
    kind = image_container.format_of(data)
    if kind is None:
        other = image_container.unread_format(data)
        raise BadImage(
            f"a picture in {other}, which is not read; convert it to JPEG or PNG"
            if other
            else f"not an image (starts with {data[:12]!r})"
        )
    if kind not in Image.OPEN:
        raise BadImage(f"a picture in {kind}; pip install 'ccssl_tf[heif]' reads it")
    if kind != "TIFF":
        return _converted(data, kind, header, options, check_jpeg)
    with _library_lines() as lines:
        try:
            return _converted(data, kind, header, options, check_jpeg)
        except BadImage as error:
            first = next(iter(lines()), "")
            raise BadImage(f"{error}{first and f': {first}'}") from error


@contextlib.contextmanager
def _library_lines() -> Iterator[Callable[[], list[str]]]:
    """Keeps what libtiff writes from the standard errors, since it names no file; yields a function
    that returns its lines so far.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file:

        def lines():
            file.seek(0)
            told = [line.strip().removeprefix(b"tempfile.tif: ") for line in file]
            return [printable(line) for line in told]

        saved = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _converted(data, kind, header, options, check_jpeg):
    """Converts what is not kept as it is."""
    contents = image_container.split(data, kind)
    try:
        image = Image.open(io.BytesIO(contents.pixels), formats=_FORMATS)
    except MemoryError:
        raise
    except Exception as error:  # Decoders raise anything on hostile bytes.
        raise BadImage(f"broken {kind}, or of a kind that is not read{_bits(data)}") from error
    options.check_size(image.height, image.width)
    if image.format == "JPEG":
        check_jpeg(data, header)
    try:
        orientation = contents.orientation or image.getexif().get(_ORIENTATION, 1)
        reasons = _reasons(image, orientation, options)
        if image.format == "JPEG" and not reasons:
            if _opens(data):
                return ConvertedImage(data, image.height, image.width, ())
            return ConvertedImage(contents.pixels, image.height, image.width, ("metadata",))
        image = _to_upright_rgb(image, orientation, options)
        encoded = io.BytesIO()
        image.save(
            encoded, "JPEG", quality=JPEG_QUALITY, subsampling=options.subsampling(*image.size)
        )
    except (MemoryError, BadImage):
        raise
    except Exception as error:
        raise BadImage(f"broken {kind} ({error})") from error
    return ConvertedImage(encoded.getvalue(), image.height, image.width, reasons)


def _opens(data):
    """Whether Pillow opens a JPEG with its metadata, as those do who look at the records."""
    try:
        Image.open(io.BytesIO(data), formats=["JPEG"])
    except MemoryError:
        raise
    except Exception:  # It raises anything on damaged blocks.
        return False
    return True


def _bits(data):
    """Says of a JPEG how many bits its pixels have, if not 8."""
    precision = jpeg.read_precision(data)
    return "" if precision in (None, 8) else f" (pixels of {precision} bits)"


def printable(name: bytes) -> str:
    """Returns a file name as one printable line."""
    text = os.fsdecode(name)
    return text if text.isprintable() else ascii(text)[1:-1]


def _reasons(image, orientation, options):
    reasons = []
    if image.format != "JPEG":
        reasons.append(image.format.lower())
    if image.mode != "RGB":
        reasons.append(
            {"L": "grey", "CMYK": "cmyk", "P": "palette", "RGBA": "alpha", "LA": "alpha"}.get(
                image.mode, "other_mode"
            )
        )
    if orientation != 1:
        reasons.append("rotated")
    if options.reduces(*image.size):
        reasons.append("resized")
    return tuple(reasons)


def _to_upright_rgb(image, orientation, options):
    size = image.size
    if options.reduces(*size):
        scale = options.resize_short_side / min(size)
        size = tuple(max(1, round(side * scale)) for side in size)
        # A JPEG may be decoded at a half, quarter or eighth; twice the target leaves the resampling
        # its antialiasing.
        image.draft(None, (2 * size[0], 2 * size[1]))
    # Pillow would turn a TIFF upright by its XMP when it loads it.
    image.info.pop("xmp", None)
    image.load()
    rgb = _to_rgb(image)
    if rgb.size != size:
        rgb = rgb.resize(size, Image.Resampling.BICUBIC)
    if orientation in _TRANSPOSED:
        rgb = rgb.transpose(_TRANSPOSED[orientation])
    rgb.info.clear()
    return rgb


def _to_rgb(image):
    if pixel_range.has_wide_pixels(image):
        return pixel_range.as_grey(image).convert("RGB")
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        image = ImageChops.invert(image)  # Pillow takes every CMYK JPEG for Adobe's inverted kind.
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")

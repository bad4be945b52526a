"""The pixels of an image file apart from its metadata: which format it is, a copy without what does
not make pixels, and the orientation that EXIF or XMP tell.

Metadata never decides whether pixels are converted: texts, profiles and EXIF blocks may be of any
size and hold anything. So nothing but what makes pixels is given to a decoder, and of the rest the
orientation alone is read, which is 1 (upright) where it cannot be.
"""

import re
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from PIL import Image

from data_prep.jpeg import BadImage

_ORIENTATION, _TIFF_XMP = 0x0112, 700
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_PNG_XMP, _PNG_RAW_EXIF = b"XML:com.adobe.xmp", b"Raw profile type exif"
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation\s*(?:=\s*[\"']|>)\s*([1-8])\s*[\"'<]")
# Tags of a TIFF that say nothing of its pixels' values: names, dates, programs, orientation, EXIF,
# positions, texts, profiles.
_TIFF_METADATA = frozenset(
    (
        *(269, 270, 271, 272, 285, 305, 306, 315, 316, _ORIENTATION, _TIFF_XMP),
        *(33432, 33723, 34377, 34665, 34675, 34853, 37724),
    )
)
_MOST_TAGS = 4096
# Metadata that is inflated, at most.
_MOST_METADATA = 1 << 20

_SIGNATURES = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "BMP": (b"BM",),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
}
# Pictures that are not read, by what they start with.
_OTHERS = {
    "JPEG 2000": (b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51"),
    "JPEG XL": (b"\xff\x0a", b"\0\0\0\x0cJXL"),
    "Photoshop": (b"8BPS",),
    "PostScript": (b"%!PS",),
    "PDF": (b"%PDF",),
}
_HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"avis"}
# Of a PNG: what makes pixels; the palette's transparency among it, although it is ancillary.
_PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_WEBP_PIXELS = (b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF")
_WEBP_METADATA_FLAGS = 0x20 | 0x08 | 0x04  # A profile, EXIF, XMP.
_JPEG_ADOBE, _JPEG_JFIF, _JPEG_COMMENT, _JPEG_SCAN = 0xEE, 0xE0, 0xFE, 0xDA


class Contents(NamedTuple):
    """An image file in its two parts.

    Attributes:
      pixels: the file without metadata, of a TIFF without its orientation.
      orientation: how the picture is to be turned, 1..8 as EXIF counts; None: as its decoder says.
    """

    pixels: bytes
    orientation: int | None = 1


def format_of(data: bytes) -> str | None:
    """Returns "JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF" or "HEIF" by the first bytes, or
    None.
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        end = min(int.from_bytes(data[:4]), 256)
        brands = {data[start : start + 4] for start in (8, *range(16, end, 4))}
        return "AVIF" if brands & {b"avif", b"avis"} else "HEIF"
    return next((name for name, starts in _SIGNATURES.items() if data.startswith(starts)), None)


def unread_format(data: bytes) -> str | None:
    """Returns the name of a format of pictures that is not read, by the first bytes, or None."""
    return next((name for name, starts in _OTHERS.items() if data.startswith(starts)), None)


def split(data: bytes, image_format: str) -> Contents:
    """Takes a file apart.

    Args:
      data: the file.
      image_format: see `format_of`; of GIF, BMP, AVIF and HEIF all is kept.

    Raises:
      BadImage: a PNG whose pixels are damaged or cut off, by their checksums.
    """
    splitters = dict(JPEG=_split_jpeg, PNG=_split_png, WEBP=_split_webp, TIFF=_split_tiff)
    if image_format in splitters:
        return splitters[image_format](data)
    return Contents(data, None if image_format in ("AVIF", "HEIF") else 1)


def _orientation(exif: bytes, xmp: bytes) -> int:
    """What an EXIF block, which begins with a TIFF header, tells, or else an XMP packet."""
    value = None
    if exif:
        try:
            tags = Image.Exif()
            tags.load(_EXIF + exif)
            value = tags.get(_ORIENTATION)
        except MemoryError:
            raise
        except Exception:  # It raises anything on hostile bytes.
            value = None
    return int(value) if value in range(1, 9) else _xmp_orientation(xmp)


def _xmp_orientation(xmp):
    match = _XMP_ORIENTATION.search(xmp)
    return int(match[1]) if match else 1


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yields (marker, start, end) of the segments before a JPEG's first scan and, last, of all from
    there on; stops where they are damaged.
    """
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # Filling.
            position += 1
            continue
        if marker == _JPEG_SCAN:
            yield marker, position, len(data)
            return
        is_bare = marker == 0x01 or 0xD0 <= marker <= 0xD8
        length = 0 if is_bare else data[position + 2] << 8 | data[position + 3]
        if not is_bare and length < 2:
            return
        end = position + 2 + length
        if end > len(data):
            return
        yield marker, position, end
        position = end


def _split_jpeg(data):
    parts, exif, xmp, whole = [data[:2]], b"", b"", False
    for marker, start, end in _jpeg_segments(data):
        is_application = 0xE0 <= marker <= 0xEF
        if marker == 0xE1:
            content = data[start + 4 : end]
            if content.startswith(_EXIF) and not exif:
                exif = content[len(_EXIF) :]
            elif content.startswith(_XMP) and not xmp:
                xmp = content[len(_XMP) :]
        if marker in (_JPEG_ADOBE, _JPEG_JFIF) or not (is_application or marker == _JPEG_COMMENT):
            parts.append(data[start:end])
        whole = marker == _JPEG_SCAN
    # A header that is damaged is left to the decoder, as it is.
    return Contents(b"".join(parts) if whole else data, _orientation(exif, xmp))


def _split_png(data):
    parts, exif, xmp = [data[:8]], b"", b""
    position, ended, has_pixels = 8, False, False
    while not ended:
        length = int.from_bytes(data[position : position + 4])
        kind, end = data[position + 4 : position + 8], position + 12 + length
        if len(kind) < 4 or end > len(data):
            # Behind the pixels nothing is missed; whether they are whole the decoder says.
            if has_pixels and kind != b"IDAT":
                parts.append(_PNG_END)
                break
            raise BadImage("broken PNG (cut off)")
        content = data[position + 8 : end - 4]
        is_whole = zlib.crc32(data[position + 4 : end - 4]) == int.from_bytes(data[end - 4 : end])
        is_critical = not kind[0] & 0x20
        if not is_whole and (is_critical or not kind.isalpha()):
            raise BadImage(f"broken PNG (checksum of its chunk {ascii(kind)[2:-1]})")
        # Of a transparency that is damaged nothing is known: the picture is taken without.
        if kind in _PNG_PIXELS and is_whole:
            parts.append(data[position:end])
        elif is_whole and kind == b"eXIf":
            exif = exif or content.removeprefix(_EXIF)
        elif is_whole and kind in (b"iTXt", b"zTXt", b"tEXt"):
            if content.startswith(_PNG_XMP + b"\0"):
                xmp = xmp or _text(kind, content)
            elif content.startswith(_PNG_RAW_EXIF + b"\0"):
                exif = exif or _raw_profile(_text(kind, content)).removeprefix(_EXIF)
        has_pixels = has_pixels or kind == b"IDAT"
        position, ended = end, kind == b"IEND"
    return Contents(b"".join(parts), _orientation(exif, xmp))


def _text(kind, content):
    """The text of a PNG's chunk, inflated as far as metadata may reach."""
    _, _, rest = content.partition(b"\0")
    compressed = kind == b"zTXt"
    if kind == b"iTXt":
        compressed, rest = rest[:1] == b"\1", rest[2:]
        rest = rest.split(b"\0", 2)[-1]
    elif compressed:
        rest = rest[1:]
    if not compressed:
        return rest
    try:
        return zlib.decompressobj().decompress(rest, _MOST_METADATA)
    except zlib.error:
        return b""


def _raw_profile(text):
    """EXIF as ImageMagick writes it into a PNG's text: name, number of bytes, hex digits."""
    try:
        return bytes.fromhex(b"".join(text.split()[2:]).decode("ascii"))
    except (ValueError, UnicodeDecodeError):
        return b""


def _split_webp(data):
    parts, exif, xmp, position = [], b"", b"", 12
    while position + 8 <= len(data):
        kind, length = data[position : position + 4], data[position + 4 : position + 8]
        end = position + 8 + int.from_bytes(length, "little")
        content = data[position + 8 : end]
        if kind == b"VP8X" and content:
            content = bytes([content[0] & ~_WEBP_METADATA_FLAGS]) + content[1:]
            parts.append(kind + length + content)
        elif kind in _WEBP_PIXELS:
            parts.append(data[position : end + end % 2])
        elif kind == b"EXIF":
            exif = exif or content.removeprefix(_EXIF)
        elif kind == b"XMP ":
            xmp = xmp or content
        position = end + end % 2
    body = b"WEBP" + b"".join(parts)
    return Contents(b"RIFF" + len(body).to_bytes(4, "little") + body, _orientation(exif, xmp))


def _split_tiff(data):
    """The picture without its orientation, by which Pillow would turn it in a way of its own, and
    without other tags that only describe it.
    """
    order = "little" if data[:2] == b"II" else "big"

    def number(at, size):
        return int.from_bytes(data[at : at + size], order)

    is_big = number(2, 2) == 43
    wide, counted = (8, 8) if is_big else (4, 2)
    directory = number(wide, wide)
    first, size, count = directory + counted, 4 + 2 * wide, number(directory, counted)
    end = first + size * count
    if not 0 < count <= _MOST_TAGS or end + wide > len(data):
        return Contents(data)  # What is damaged is left to the decoder.
    value, xmp, kept = None, b"", []
    for at in range(first, end, size):
        tag, kind, number_of = number(at, 2), number(at + 2, 2), number(at + 4, wide)
        where = at + 4 + wide
        if tag == _ORIENTATION:
            value = number(where, 4 if kind == 4 else 2)
        elif tag == _TIFF_XMP and number_of > wide:
            xmp = data[number(where, wide) :][: min(number_of, _MOST_METADATA)]
        if tag not in _TIFF_METADATA:
            kept.append(data[at : at + size])
    shorter = len(kept).to_bytes(counted, order) + b"".join(kept) + data[end : end + wide]
    filled = shorter.ljust(end + wide - directory, b"\0")
    pixels = data[:directory] + filled + data[end + wide :]
    return Contents(pixels, value if value in range(1, 9) else _xmp_orientation(xmp))

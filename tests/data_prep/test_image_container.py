"""Metadata of any content beside pixels that decode, and orientation wherever it is told."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from data_prep import image_container
from data_prep.decoding import BadImage, DecodeOptions, convert_image

WIDTH, HEIGHT = 48, 32
# What turns a stored picture upright, by EXIF's table of orientations, in NumPy's terms.
UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}


def _picture(mode="RGB"):
    """Four areas of one colour each, none like another."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[: HEIGHT // 2, : WIDTH // 2] = 200, 30, 30
    pixels[: HEIGHT // 2, WIDTH // 2 :] = 30, 200, 30
    pixels[HEIGHT // 2 :, : WIDTH // 2] = 30, 30, 200
    pixels[HEIGHT // 2 :, WIDTH // 2 :] = 220, 220, 60
    return Image.fromarray(pixels).convert(mode)


def _encode(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _chunk(kind, content, checksum=None):
    checksum = zlib.crc32(kind + content) if checksum is None else checksum
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def _with_chunk(png, chunk):
    at = png.index(b"IDAT") - 4
    return png[:at] + chunk + png[at:]


def _with_segment(jpeg, marker, content):
    segment = bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content
    return jpeg[:2] + segment + jpeg[2:]


def _webp_with(kind, content):
    """Pillow's WebP with the bytes of a chunk of metadata."""
    name = {"EXIF": "exif", "XMP ": "xmp", "ICCP": "icc_profile"}[kind]
    return _encode(_picture(), "WEBP", lossless=True, **{name: content})


def _xmp(orientation, form="attribute"):
    told = {
        "attribute": f'<rdf:Description tiff:Orientation="{orientation}"/>',
        "single quotes": f"<rdf:Description tiff:Orientation = '{orientation}'/>",
        "element": f"<tiff:Orientation> {orientation} </tiff:Orientation>",
    }[form]
    return f"<x:xmpmeta><rdf:RDF>{told}</rdf:RDF></x:xmpmeta>".encode()


def _exif(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def _decoded(converted):
    with Image.open(io.BytesIO(converted.encoded)) as image:
        assert image.mode == "RGB" and image.size == (converted.width, converted.height)
        assert image.getexif().get(0x0112, 1) == 1 or converted.reasons == ()
        return np.asarray(image).astype(int)


PNG = _encode(_picture(), "PNG")
JPEG = _encode(_picture(), "JPEG", quality=95, subsampling=0)
# Its pixels are in many chunks, of which the last ones can be lost.
MANY = PNG[: PNG.index(b"IDAT") - 4] + b"".join(
    _chunk(b"IDAT", PNG[at : min(at + 20, len(PNG) - 16)])
    for at in range(PNG.index(b"IDAT") + 4, len(PNG) - 16, 20)
)
BOMB = zlib.compress(bytes(100 << 20))
ODD = {
    "zTXt that inflates to 100 MB": _with_chunk(PNG, _chunk(b"zTXt", b"parameters\0\0" + BOMB)),
    "zTXt that is no zlib": _with_chunk(PNG, _chunk(b"zTXt", b"prompt\0\0garbage")),
    "zTXt of another method": _with_chunk(PNG, _chunk(b"zTXt", b"prompt\0\7garbage")),
    "iTXt bomb of XMP": _with_chunk(PNG, _chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + BOMB)),
    "iTXt of no form": _with_chunk(PNG, _chunk(b"iTXt", b"x")),
    "iCCP garbage": _with_chunk(PNG, _chunk(b"iCCP", b"icc\0\0garbage")),
    "eXIf garbage": _encode(_picture(), "PNG", exif=b"Exif\0\0garbage!"),
    "raw profile garbage": _with_chunk(
        PNG, _chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 9\nxyz")
    ),
    "tIME with a bad checksum": _with_chunk(PNG, _chunk(b"tIME", bytes(7), checksum=0)),
    "gAMA of no length": _with_chunk(PNG, _chunk(b"gAMA", b"")),
    "pHYs of no length": _with_chunk(PNG, _chunk(b"pHYs", b"")),
    "private chunk": _with_chunk(PNG, _chunk(b"prVt", bytes(range(200)), checksum=1)),
    "text behind the end": PNG + b"trailing text",
    "cut inside a text behind the pixels": PNG[:-12] + _chunk(b"tEXt", b"a\0" + bytes(90))[:50],
    "cut before its end": PNG[:-12],
    "EXIF garbage in WebP": _webp_with("EXIF", b"Exif\0\0garbage!"),
    "XMP garbage in WebP": _webp_with("XMP ", b"\xff\xfe not XML"),
    "profile garbage in WebP": _webp_with("ICCP", b"garbage"),
    "WebP cut inside its EXIF": _webp_with("EXIF", b"Exif\0\0" + bytes(900))[:-500],
    "EXIF garbage in JPEG": _with_segment(JPEG, 0xE1, b"Exif\0\0garbage!"),
    "empty EXIF in JPEG": _with_segment(JPEG, 0xE1, b"Exif\0\0"),
    "profile garbage in JPEG": _with_segment(JPEG, 0xE2, b"ICC_PROFILE\0\1"),
    "MPF garbage in JPEG": _with_segment(JPEG, 0xE2, b"MPF\0garbage"),
    "Photoshop garbage in JPEG": _with_segment(JPEG, 0xED, b"Photoshop 3.0\x008BIM\xff"),
    "a comment in JPEG": _with_segment(JPEG, 0xFE, b"\xff\xd9 comment"),
}


def _with_tag(tag, changes):
    """A TIFF in which the entry of a tag is changed: (offset in the entry, bytes)."""
    data = bytearray(
        _encode(
            _picture(),
            "TIFF",
            tiffinfo={270: "x" * 40, 700: b"<x/>" * 20, 305: "soft" * 10, 34675: b"icc" * 20},
        )
    )
    directory = int.from_bytes(data[4:8], "little")
    for number in range(int.from_bytes(data[directory : directory + 2], "little")):
        at = directory + 2 + 12 * number
        if int.from_bytes(data[at : at + 2], "little") == tag:
            for offset, content in changes:
                data[at + offset : at + offset + len(content)] = content
    return bytes(data)


ODD |= {
    f"tag {tag} of a TIFF, {name}": _with_tag(tag, changes)
    for tag in (270, 305, 700, 34675)
    for name, changes in {
        "elsewhere": [(8, b"\xff\xff\xff\x7f")],
        "endless": [(4, b"\xff\xff\xff\x7f")],
        "of another type": [(2, b"\x0c\0\3\0\0\0")],
        "of no type": [(2, b"\xff\xff")],
    }.items()
}


@pytest.mark.parametrize("resize", [0, 16])
@pytest.mark.parametrize("kind", ODD)
def test_pixels_are_converted_whatever_the_metadata_hold(kind, resize):
    converted = convert_image(ODD[kind], DecodeOptions(resize_short_side=resize))
    expected = _picture()
    if resize:
        expected = expected.resize((WIDTH * resize // HEIGHT, resize), Image.Resampling.BICUBIC)
    assert "rotated" not in converted.reasons
    assert np.abs(_decoded(converted) - np.asarray(expected).astype(int)).mean() < 2


@pytest.mark.parametrize("marker", [0xE1, 0xE2, 0xED])
def test_grey_jpegs_of_odd_metadata_are_encoded_again(marker):
    grey = _encode(_picture("L"), "JPEG", quality=95)
    data = _with_segment(grey, marker, b"Exif\0\0garbage!" if marker == 0xE1 else b"MPF\0x")
    converted = convert_image(data, DecodeOptions())
    assert converted.reasons == ("grey",)
    expected = np.asarray(_picture("L").convert("RGB")).astype(int)
    assert np.abs(_decoded(converted) - expected).mean() < 2


@pytest.mark.parametrize(
    ("damaged", "said"),
    [
        (PNG[:-30], "broken PNG (cut off)"),
        (MANY[: MANY.index(b"IDAT", MANY.index(b"IDAT") + 30) - 4], "broken PNG ("),
        (PNG[: len(PNG) // 2], "broken PNG (cut off)"),
        (PNG.replace(b"IDAT", b"IDAt"), "broken PNG (checksum of its chunk IDAt)"),
        (PNG[:60] + bytes([PNG[60] ^ 1]) + PNG[61:], "broken PNG (checksum of its chunk"),
        (PNG[:20], "broken PNG (cut off)"),
        (b"GIF89a" + bytes(10), "broken GIF"),
        (b"BM" + bytes(9), "broken BMP"),
        (b"II*\0" + bytes(9), "broken TIFF"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "broken WEBP"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "broken JPEG"),
        (b"\0\0\0\x18ftypheic", "broken HEIF"),
        (b"\0\0\0\x18ftypavif", "broken AVIF"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "broken AVIF"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "broken HEIF"),
        (b"8BPS\0\1", "a picture in Photoshop"),
        (b"<html>", "not an image (starts with b'<html>')"),
    ],
)
def test_what_is_broken_is_said(damaged, said):
    with pytest.raises(BadImage) as caught:
        convert_image(damaged, DecodeOptions())
    assert str(caught.value).startswith(said)


def test_without_its_extra_heif_is_a_format_that_is_not_read(monkeypatch):
    monkeypatch.delitem(Image.OPEN, "HEIF")
    with pytest.raises(BadImage, match="a picture in HEIF; pip install 'ccssl_tf.heif.' reads it"):
        convert_image(b"\0\0\0\x18ftypheic", DecodeOptions())


def test_a_jpeg_of_twelve_bits_is_named():
    at = JPEG.index(b"\xff\xc0")
    with pytest.raises(BadImage, match="broken JPEG.*pixels of 12 bits"):
        convert_image(JPEG[: at + 4] + b"\x0c" + JPEG[at + 5 :], DecodeOptions())


def _told(kind, mode, where, orientation, form="attribute"):
    """A picture that tells an orientation in EXIF or XMP."""
    image = _picture(mode)
    options = {"JPEG": dict(quality=95, subsampling=0), "WEBP": dict(lossless=True)}.get(kind, {})
    if where == "EXIF":
        if kind == "TIFF":
            return _encode(image, kind, tiffinfo={0x0112: orientation})
        return _encode(image, kind, exif=_exif(orientation), **options)
    xmp = _xmp(orientation, form)
    if kind == "PNG":
        return _with_chunk(
            _encode(image, kind), _chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
        )
    if kind == "TIFF":
        return _encode(image, kind, tiffinfo={700: xmp})
    if kind == "WEBP":
        return _encode(image, kind, xmp=xmp, **options)
    name = b"http://ns.adobe.com/xap/1.0/\0"
    return _with_segment(_encode(image, kind, **options), 0xE1, name + xmp)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("where", ["EXIF", "XMP"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_is_one_rule_on_every_path(kind, where, orientation):
    for mode in ("RGB", "L"):
        if kind == "WEBP" and mode == "L":
            continue
        data = _told(kind, mode, where, orientation)
        upright = UPRIGHT[orientation](np.asarray(_picture(mode).convert("RGB")))
        for resize in (0, 16):
            converted = convert_image(data, DecodeOptions(resize_short_side=resize))
            expected = Image.fromarray(np.ascontiguousarray(upright))
            if resize:
                width, height = (side * resize // HEIGHT for side in expected.size)
                expected = expected.resize((width, height), Image.Resampling.BICUBIC)
            difference = np.abs(_decoded(converted) - np.asarray(expected).astype(int))
            assert difference.mean() < 3, (mode, resize)
            assert ("rotated" in converted.reasons) == (orientation != 1)


def test_exif_goes_before_xmp_and_xmp_has_many_forms():
    jpeg = _told("JPEG", "RGB", "EXIF", 1)
    name = b"http://ns.adobe.com/xap/1.0/\0"
    both = _with_segment(jpeg, 0xE1, name + _xmp(6))
    assert convert_image(both, DecodeOptions()).encoded == both
    for invalid in (0, 9, 65535):
        jpeg = _told("JPEG", "RGB", "EXIF", invalid)
        assert convert_image(jpeg, DecodeOptions()).reasons == ()
        both = _with_segment(jpeg, 0xE1, name + _xmp(6))
        assert convert_image(both, DecodeOptions()).reasons == ("rotated",)
    for form in ("single quotes", "element"):
        data = _told("JPEG", "RGB", "XMP", 8, form)
        assert convert_image(data, DecodeOptions()).reasons == ("rotated",)
    upright = _told("JPEG", "RGB", "XMP", 1)
    assert convert_image(upright, DecodeOptions()).encoded == upright


def test_exif_in_a_pngs_text():
    exif = _exif(6)
    text = f"\nexif\n{len(exif):8}\n{exif.hex()}\n".encode()
    for chunk in (
        _chunk(b"tEXt", b"Raw profile type exif\0" + text),
        _chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text)),
    ):
        converted = convert_image(_with_chunk(PNG, chunk), DecodeOptions())
        upright = np.rot90(np.asarray(_picture()), -1).astype(int)
        assert np.abs(_decoded(converted) - upright).mean() < 2


def test_formats_by_their_first_bytes():
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"):
        assert image_container.format_of(_encode(_picture(), kind)) == kind
    assert image_container.format_of(b"") is None


# Modes of Pillow that the formats take; wide grey is tested in test_pixel_range.py.
MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA"),
    "JPEG": ("L", "RGB", "CMYK", "YCbCr"),
    "WEBP": ("RGB", "RGBA"),
    "GIF": ("1", "L", "P"),
    "BMP": ("1", "L", "P", "RGB"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB"),
}


@pytest.mark.parametrize(
    ("kind", "mode", "orientation"),
    [
        (kind, mode, orientation)
        for kind, modes in MODES.items()
        for mode in modes
        for orientation in ((1,) if kind in ("GIF", "BMP") else (1, 6))
    ],
)
def test_every_mode_as_pillow_renders_it(kind, mode, orientation):
    """The policy in Pillow's own words: over white, upright, 8-bit RGB."""
    image = _picture() if mode == "LAB" else _picture("LA" if mode == "LA" else mode)
    if mode == "LAB":
        from PIL import ImageCms

        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.applyTransform(image, ImageCms.buildTransform(*profiles, "RGB", "LAB"))
    if mode in ("RGBA", "LA"):
        alpha = Image.linear_gradient("L").resize(image.size)
        image.putalpha(alpha)
    takes_exif = kind in ("PNG", "JPEG", "WEBP")
    options = dict(exif=_exif(orientation)) if takes_exif else {}
    if kind == "TIFF":
        options = dict(tiffinfo={0x0112: orientation})
    if kind == "JPEG":
        options |= dict(quality=95)
    if kind == "WEBP":
        options |= dict(lossless=True, exact=True)
    data = _encode(image, kind, **options)
    with Image.open(io.BytesIO(data)) as opened:
        upright = ImageOps.exif_transpose(opened)
        if upright.mode in ("RGBA", "LA"):
            over = Image.new("RGBA", upright.size, (255, 255, 255, 255))
            over.paste(upright.convert("RGBA"), mask=upright.getchannel("A"))
            upright = over
        expected = np.asarray(upright.convert("RGB")).astype(int)
    difference = np.abs(_decoded(convert_image(data, DecodeOptions())) - expected)
    assert difference.mean() < 3

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageChops

from data_prep.decoding import BadImage, DecodeOptions, convert_image, printable

HEIGHT, WIDTH = 40, 60


def _pixels():
    """Smooth colours that survive JPEG: red grows to the right, green downwards, blue is 60."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([columns * 4, rows * 6, np.full_like(rows, 60)], -1).astype(np.uint8)


def _encode(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _decode(converted):
    image = Image.open(io.BytesIO(converted.encoded))
    assert (image.format in ("JPEG", "MPO"), image.mode) == (True, "RGB")
    assert image.size == (converted.width, converted.height)
    return np.asarray(image).astype(int)


def _gray16():
    return Image.fromarray(_pixels()[..., 0].astype(np.uint16) * 257)


def _adobe_cmyk():
    # Pillow writes CMYK with Adobe's marker, inverted, as Photoshop does.
    return _encode(Image.fromarray(_pixels()).convert("CMYK"), "JPEG", quality=95)


def _plain_cmyk():
    data = _encode(
        ImageChops.invert(Image.fromarray(_pixels()).convert("CMYK")), "JPEG", quality=95
    )
    at = data.index(b"\xff\xee")
    length = int.from_bytes(data[at + 2 : at + 4])
    return data[:at] + data[at + 2 + length :]


def _rotated(orientation, kind="JPEG"):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return _encode(
        Image.fromarray(_pixels()), kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {})
    )


RGB = Image.fromarray(_pixels())
GRAY = np.repeat(np.asarray(RGB.convert("L"))[..., None], 3, -1)
KINDS = {
    "progressive": (_encode(RGB, "JPEG", progressive=True), (), _pixels()),
    "mpo": (_encode(RGB, "MPO", save_all=True, append_images=[RGB]), (), _pixels()),
    "grey": (_encode(RGB.convert("L"), "JPEG"), ("grey",), GRAY),
    "adobe_cmyk": (_adobe_cmyk(), ("cmyk",), _pixels()),
    "plain_cmyk": (_plain_cmyk(), ("cmyk",), _pixels()),
    "png": (_encode(RGB, "PNG"), ("png",), _pixels()),
    "palette_png": (_encode(RGB.quantize(256), "PNG"), ("png", "palette"), _pixels()),
    "gray16_png": (
        _encode(_gray16(), "PNG"),
        ("png", "other_mode"),
        np.repeat(_pixels()[..., :1], 3, -1),
    ),
    "webp": (_encode(RGB, "WEBP", lossless=True), ("webp",), _pixels()),
    "bmp": (_encode(RGB, "BMP"), ("bmp",), _pixels()),
    "tiff": (_encode(RGB, "TIFF"), ("tiff",), _pixels()),
    "avif": (_encode(RGB, "AVIF", quality=95), ("avif",), _pixels()),
    "heif": (_encode(RGB, "HEIF", quality=95), ("heif",), _pixels()),
    "gif": (
        _encode(RGB.convert("L"), "GIF", save_all=True, append_images=[Image.new("L", RGB.size)]),
        None,
        GRAY,
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_becomes_rgb(kind):
    data, reasons, expected = KINDS[kind]
    converted = convert_image(data, DecodeOptions())
    if reasons is not None:
        assert converted.reasons == reasons
    assert (converted.encoded == data) == (reasons == ())
    assert np.abs(_decode(converted) - expected).mean() < 6, kind


def test_transparency_is_laid_over_white():
    alpha = np.zeros((HEIGHT, WIDTH, 1), np.uint8)
    alpha[:, :30] = 255
    converted = convert_image(
        _encode(Image.fromarray(np.concatenate([_pixels(), alpha], -1)), "PNG"), DecodeOptions()
    )
    pixels = _decode(converted)
    assert pixels[:, 40:].min() > 245
    assert np.abs(pixels[:, :26] - _pixels()[:, :26]).mean() < 6
    assert "alpha" in converted.reasons


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "AVIF"])
def test_exif_rotation_is_applied(orientation, kind):
    converted = convert_image(_rotated(orientation, kind), DecodeOptions())
    pixels = _pixels()
    expected = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.transpose(1, 0, 2),
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(pixels),
    }[orientation]
    assert np.abs(_decode(converted) - expected).mean() < 6
    assert ("rotated" in converted.reasons) == (orientation != 1)
    if orientation != 1:
        assert 0x0112 not in Image.open(io.BytesIO(converted.encoded)).getexif()


def test_exif_of_heif_does_not_turn_what_its_decoder_has_turned():
    converted = convert_image(_rotated(6, "HEIF"), DecodeOptions())
    assert np.abs(_decode(converted) - _pixels()).mean() < 6
    assert converted.reasons == ("heif",)


def test_resize_reduces_the_short_side_and_never_enlarges():
    large = Image.fromarray(_pixels()).resize((600, 400))
    converted = convert_image(
        _encode(large, "JPEG", quality=95), DecodeOptions(resize_short_side=40)
    )
    assert (converted.height, converted.width, converted.reasons) == (40, 60, ("resized",))
    assert np.abs(_decode(converted) - _pixels()).mean() < 6
    data = _encode(RGB, "JPEG")
    assert convert_image(data, DecodeOptions(resize_short_side=40)).encoded == data
    upright = convert_image(_rotated(6), DecodeOptions(resize_short_side=20))
    assert (upright.height, upright.width) == (30, 20)


def _stripes(side):
    """Red and blue columns of one pixel each."""
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[:, ::2], pixels[:, 1::2] = (255, 0, 0), (0, 0, 255)
    return pixels


@pytest.mark.parametrize(
    ("side", "chroma", "keeps"),
    [
        (32, "auto", True),
        (127, "auto", True),
        (128, "auto", False),
        (256, "444", True),
        (32, "420", False),
        (32, "422", False),
    ],
)
def test_colours_of_single_pixels(side, chroma, keeps):
    data = _encode(Image.fromarray(_stripes(side)), "PNG")
    pixels = _decode(convert_image(data, DecodeOptions(chroma_subsampling=chroma)))
    error = np.abs(pixels - _stripes(side)).mean()
    assert error < 3 if keeps else error > 50


def _bad_images():
    jpeg = _encode(
        Image.fromarray(
            np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        ),
        "JPEG",
    )
    png = _encode(RGB, "PNG")
    middle = len(jpeg) // 2
    return {
        "empty": b"",
        "html": b"<!DOCTYPE html><html>not found</html>",
        "random": bytes(range(256)),
        "half_jpeg": jpeg[:middle],
        "jpeg_without_its_end": jpeg[:-50],
        "corrupt_jpeg": jpeg[:middle] + bytes(range(100, 200)) * 3 + jpeg[middle + 300 :],
        "half_png": png[: len(png) // 2],
        "corrupt_png": png[: len(png) // 2] + b"\0\0\0\0" + png[len(png) // 2 + 4 :],
        "half_grey": _encode(RGB.convert("L"), "JPEG")[:-60],
        "half_rotated": _rotated(6)[:-80],
        "float_tiff": _encode(Image.fromarray(np.full((4, 4), 2.5, np.float32)), "TIFF"),
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    }


@pytest.mark.parametrize("kind", _bad_images())
def test_broken_images_are_refused(kind):
    with pytest.raises(BadImage):
        convert_image(_bad_images()[kind], DecodeOptions())


def test_limits_are_checked_before_decoding():
    bomb = bytearray(_encode(RGB, "PNG"))
    bomb[16:24] = struct.pack(">II", 20000, 20000)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))
    with pytest.raises(BadImage, match="20000x20000 pixels, more than --max_pixels=100000000"):
        convert_image(bytes(bomb), DecodeOptions())
    with pytest.raises(BadImage, match="shorter than --min_side=41"):
        convert_image(_encode(RGB, "JPEG"), DecodeOptions(min_side=41))
    assert convert_image(_encode(Image.new("RGB", (1, 1)), "JPEG"), DecodeOptions()).height == 1


def test_cut_and_changed_bytes_never_escape_as_other_errors():
    rng = np.random.default_rng(0)
    for data in (
        KINDS["png"][0],
        KINDS["webp"][0],
        KINDS["bmp"][0],
        KINDS["tiff"][0],
        KINDS["gif"][0],
        KINDS["adobe_cmyk"][0],
    ):
        for _ in range(20):
            broken = bytearray(data)
            for at in rng.integers(0, len(data), 3):
                broken[at] = rng.integers(256)
            with contextlib.suppress(BadImage):
                convert_image(
                    bytes(broken[: rng.integers(1, len(data) + 1)]), DecodeOptions(max_pixels=10**6)
                )


def test_printable_names_are_one_line():
    assert printable(b"caf\xc3\xa9.jpg") == "café.jpg"
    assert "\n" not in printable(b"a\nb.jpg")
    printable(b"\xff\xfe.jpg").encode()


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "jpeg"])
def test_what_libtiff_says_is_told_with_the_image_alone(compression, capfd):
    damaged = bytearray(_encode(RGB, "TIFF", compression=compression))
    damaged[8:40] = b"\xff" * 32
    with pytest.raises(BadImage, match="broken TIFF .*: [A-Z]"):
        convert_image(bytes(damaged), DecodeOptions())
    assert capfd.readouterr().err == ""

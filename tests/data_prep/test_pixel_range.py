"""Grey of every depth, against values computed from the numbers that are stored."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from data_prep.decoding import BadImage, DecodeOptions, convert_image

SIDE = 32


def _tiff(bits, values, *, sample_format=1, photometric=1, order="<", tags=()):
    """A TIFF of one grey strip, written by hand: Pillow writes few of these kinds.

    Args:
      bits: a value; 12 are packed, two values in three bytes.
      values: [SIDE, SIDE] numbers.
      sample_format: 1 unsigned, 2 signed, 3 float.
      photometric: 1: 0 is black; 0: it is white.
      order: "<" or ">".
      tags: more of (number, type, value), types 3 (short), 4 (long), 8 (signed short),
        9 (signed long), 11 (float).
    """
    if bits == 12:
        first, second = values.ravel()[::2], values.ravel()[1::2]
        raw = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], 1)
        raw = raw.astype(np.uint8).tobytes()
    else:
        kind = {1: "u", 2: "i", 3: "f"}[sample_format]
        raw = values.astype(f"{order}{kind}{bits // 8}").tobytes()
    entries = [
        *((256, 3, SIDE), (257, 3, SIDE), (258, 3, bits), (259, 3, 1), (262, 3, photometric)),
        *((273, 4, 8), (277, 3, 1), (278, 3, SIDE), (279, 4, len(raw))),
        *((339, 3, sample_format), *tags),
    ]
    formats = {3: "H2x", 4: "I", 8: "h2x", 9: "i", 11: "f"}
    directory = b"".join(
        struct.pack(f"{order}HHI", number, kind, 1) + struct.pack(order + formats[kind], value)
        for number, kind, value in sorted(entries)
    )
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + len(raw))
    return start + raw + struct.pack(f"{order}H", len(entries)) + directory + bytes(4)


def _ramp(low, high):
    """[SIDE, SIDE] from low to high, in smooth rows, which JPEG keeps."""
    return np.linspace(low, high, SIDE)[:, None] * np.ones((1, SIDE))


def _converted(data):
    converted = convert_image(data, DecodeOptions())
    with Image.open(io.BytesIO(converted.encoded)) as image:
        pixels = np.asarray(image).astype(int)
    assert (pixels[..., 0] == pixels[..., 1]).all() or np.ptp(pixels, axis=-1).max() <= 2
    return pixels[..., 1]


def _close(pixels, expected):
    assert np.abs(pixels - expected).max() <= 4, np.abs(pixels - expected).max()
    assert abs((pixels - expected).mean()) < 0.6


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bits(order):
    values = _ramp(0, 65535).round().astype(int)
    _close(_converted(_tiff(16, values, order=order)), values / 65535 * 255)


def test_sixteen_bits_of_png_are_rounded():
    values = np.full((SIDE, SIDE), 200, np.uint16)
    data = io.BytesIO()
    Image.fromarray(values).save(data, "PNG")
    # 200 / 65535 * 255 = 0.78: the nearest is 1.
    assert (_converted(data.getvalue()) == 1).all()
    values = _ramp(0, 65535).round().astype(np.uint16)
    data = io.BytesIO()
    Image.fromarray(values).save(data, "PNG")
    _close(_converted(data.getvalue()), values / 65535 * 255)


def test_twelve_bits():
    values = _ramp(0, 4095).round().astype(int)
    _close(_converted(_tiff(12, values)), values / 4095 * 255)


@pytest.mark.parametrize(
    ("bits", "low", "high"), [(16, 0, 1023), (16, 100, 4095), (32, 0, 1_000_000)]
)
def test_the_range_that_tags_say(bits, low, high):
    values = _ramp(low, high).round().astype(int)
    kind = 3 if bits == 16 else 4
    tags = [(280, kind, low), (281, kind, high)]
    _close(_converted(_tiff(bits, values, tags=tags)), (values - low) / (high - low) * 255)


def test_white_may_be_zero():
    values = _ramp(0, 65535).round().astype(int)
    _close(_converted(_tiff(16, values, photometric=0)), 255 - values / 65535 * 255)
    values = _ramp(0, 1)
    _close(_converted(_tiff(32, values, sample_format=3, photometric=0)), 255 - values * 255)


@pytest.mark.parametrize("order", ["<", ">"])
def test_floats_from_zero_to_one(order):
    values = _ramp(0, 1)
    _close(_converted(_tiff(32, values, sample_format=3, order=order)), values * 255)
    # A dark picture stays as dark as it is beside others of its series.
    values = _ramp(0, 0.25)
    _close(_converted(_tiff(32, values, sample_format=3, order=order)), values * 255)


def test_floats_and_signed_numbers_of_a_range_that_is_said():
    values = _ramp(-500, 1500)
    tags = [(340, 11, -500.0), (341, 11, 1500.0)]
    data = _tiff(32, values, sample_format=3, tags=tags)
    _close(_converted(data), (values + 500) / 2000 * 255)
    values = values.round().astype(int)
    data = _tiff(16, values, sample_format=2, tags=[(340, 8, -500), (341, 8, 1500)])
    _close(_converted(data), (values + 500) / 2000 * 255)
    values = _ramp(3e9, 4e9).round().astype(np.int64)
    data = _tiff(32, values, tags=[(280, 4, 3_000_000_000), (281, 4, 4_000_000_000)])
    _close(_converted(data), (values - 3e9) / 1e9 * 255)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (_tiff(32, _ramp(0, 3), sample_format=3), "floating-point pixels from 0 to 3, whose range"),
        (_tiff(32, _ramp(-1, 1), sample_format=3), "floating-point pixels from -1 to 1"),
        (_tiff(32, _ramp(0, np.nan), sample_format=3), "floating-point pixels"),
        (_tiff(16, _ramp(-9, 9), sample_format=2), "pixels of 16 bits with a sign, whose range"),
        (_tiff(32, _ramp(0, 255)), "pixels of 32 bits, whose range is not said; save them"),
        (_tiff(32, _ramp(0, 255), sample_format=2), "pixels of 32 bits with a sign"),
        (_tiff(16, _ramp(0, 9), tags=[(280, 3, 9), (281, 3, 9)]), "grey from 9 to 9"),
    ],
)
def test_a_range_that_is_not_said_is_not_guessed(data, said):
    with pytest.raises(BadImage) as caught:
        convert_image(data, DecodeOptions())
    assert str(caught.value).startswith(said)

"""Grey pixels of more than 8 bits, scaled to [0, 255] by the range that their file says.

| pixels | black, white |
|---|---|
| 9 to 16 bits a pixel, whole numbers | 0, 2^bits - 1 |
| the same with TIFF's MaxSampleValue (and MinSampleValue) | these |
| with a sign, of 32 bits or float, with these or SMinSampleValue and SMaxSampleValue | these |
| float without these, all in [0, 1] | 0, 1 |
| others | refused: their range is not said |

A range never follows from the pixels of one picture, so pictures of one series stay comparable.
"""

import numpy as np
from PIL import Image

from data_prep.jpeg import BadImage

_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_RANGES = ((340, 341), (280, 281))  # SMinSampleValue, SMaxSampleValue; MinSampleValue, Max...
_UNSIGNED, _WHITE_IS_ZERO = 1, 0


def has_wide_pixels(image: Image.Image) -> bool:
    """Whether an opened image's pixels are no bytes: Pillow's modes I, I;16.. and F."""
    return image.mode.startswith("I") or image.mode == "F"


def as_grey(image: Image.Image) -> Image.Image:
    """Returns such an image in mode L; raises BadImage where its range is not said."""
    tags = image.tag_v2 if image.format == "TIFF" else {}
    pixels = np.asarray(image)
    bits = _number(tags.get(_BITS)) or (16 if image.mode.startswith("I;16") else 32)
    sample_format = _number(tags.get(_SAMPLE_FORMAT)) or _UNSIGNED
    if image.mode == "I" and image.format == "PNG":
        bits = 16  # As Pillow once opened grey of 16 bits.
    elif image.mode == "I" and sample_format == _UNSIGNED and bits == 32:
        pixels = pixels.view(np.uint32)
    black, white = _range(tags, image.mode, bits, sample_format, pixels)
    if not white > black:
        raise BadImage(f"grey from {black:g} to {white:g}, as its tags say")
    scaled = (pixels.astype(np.float64) - black) * (255 / (white - black))
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        scaled = 255 - scaled
    return Image.fromarray(np.clip(np.floor(scaled + 0.5), 0, 255).astype(np.uint8))


def _range(tags, mode, bits, sample_format, pixels):
    for low, high in _RANGES:
        white = _number(tags.get(high))
        if white is not None:
            return _number(tags.get(low)) or 0, white
    if mode == "F":
        low, high = pixels.min(), pixels.max()
        if low >= 0 and high <= 1:  # NaN is neither.
            return 0, 1
        raise BadImage(
            f"floating-point pixels from {low:g} to {high:g}, whose range is not said; scale them "
            "to [0, 1], or set SMinSampleValue and SMaxSampleValue"
        )
    if sample_format == _UNSIGNED and bits <= 16:
        return 0, 2**bits - 1
    raise BadImage(
        f"pixels of {bits} bits{' with a sign' if sample_format != _UNSIGNED else ''}, whose range "
        "is not said; save them with 16 bits, or set SMinSampleValue and SMaxSampleValue"
    )


def _number(value):
    """The first number of a tag's value, or None."""
    if isinstance(value, tuple):
        value = value[0] if value else None
    return value if isinstance(value, (int, float)) else None

"""Reads the annotation files of VOC, distrusting them: they decide where boxes lie, and anyone may
have written them.
"""

import math
import re
import xml.etree.ElementTree as ET
from typing import NamedTuple

from ccssl_tf.runs.errors import InputError

# fmt: off
CLASSES = [
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
]
# fmt: on
_LABELS = {name: label for label, name in enumerate(CLASSES)}
_MOST_BYTES = 2**20
_MOST_OBJECTS = 1000
_MOST_TAGS = 50 * _MOST_OBJECTS
# UTF-16 could hide a declaration from this search, and has NULs; VOC's files are ASCII.
_DECLARATIONS = re.compile(rb"<!\s*(DOCTYPE|ENTITY|ELEMENT|ATTLIST)|\0", re.IGNORECASE)


class Object(NamedTuple):
    """One object: class in [0, 20), box (xmin, ymin, xmax, ymax) in 1-based inclusive pixels,
    difficult, truncated.
    """

    label: int
    box: tuple[int, int, int, int]
    difficult: bool
    truncated: bool


class Annotation(NamedTuple):
    """An image's width and height in pixels, and its objects in the file's order."""

    width: int
    height: int
    objects: tuple[Object, ...]


def parse_annotation(data: bytes, name: str) -> Annotation:
    """Reads one annotation file.

    Coordinates with decimals, which a few files of VOC2012 have, are rounded; one pixel outside the
    image (a 0, or width + 1) is moved to the edge. A missing `difficult` or `truncated` is 0, as
    for the devkit. Parts of persons are not read.

    Args:
      data: the file.
      name: for messages.

    Raises:
      InputError: no such file by its size or content, an unknown class, or a box that is missing,
        inverted or outside the image.
    """
    if len(data) > _MOST_BYTES or data.count(b"<") > _MOST_TAGS:
        raise InputError(
            f"{name}: {len(data)} bytes and {data.count(b'<')} tags, no annotation has so many; "
            "remove it"
        )
    if content := _DECLARATIONS.search(data):
        raise InputError(
            f"{name}: refused for {content[0].decode('ascii')!r}: annotations hold no "
            "declarations; remove it"
        )
    try:
        root = ET.fromstring(data)
    except (
        ET.ParseError,
        ValueError,
        LookupError,
    ) as error:  # ValueError, LookupError: odd encodings.
        raise InputError(f"{name}: not XML ({error}); fetch it again") from error
    objects = root.findall("object")
    if root.tag != "annotation" or len(objects) > _MOST_OBJECTS:
        content = f"<{root.tag[:40]}>" if root.tag != "annotation" else f"{len(objects)} objects"
        raise InputError(
            f"{name}: {content}, expected one <annotation> of at most {_MOST_OBJECTS} objects"
        )
    width, height = (_number(root, f"size/{side}", name) for side in ("width", "height"))
    if min(width, height) < 1:
        raise InputError(f"{name}: an image of {width}x{height} pixels; mend it")
    return Annotation(
        width, height, tuple(_object(element, width, height, name) for element in objects)
    )


def _object(element, width, height, name):
    text = (element.findtext("name") or "").strip()
    if text not in _LABELS:
        raise InputError(f"{name}: unknown class {text[:40]!r}; VOC has {', '.join(CLASSES)}")
    box = tuple(
        _number(element, f"bndbox/{corner}", name) for corner in ("xmin", "ymin", "xmax", "ymax")
    )
    edges = (width, height, width, height)
    if any(not 0 <= value <= edge + 1 for value, edge in zip(box, edges, strict=True)):
        raise InputError(
            f"{name}: box {box} of a {text} lies outside the image of {width}x{height} pixels, "
            "counted from 1; mend it"
        )
    box = tuple(min(max(value, 1), edge) for value, edge in zip(box, edges, strict=True))
    if box[0] > box[2] or box[1] > box[3]:
        raise InputError(
            f"{name}: box {box} of a {text} is inverted (expected xmin <= xmax, ymin <= ymax); "
            "mend it"
        )
    return Object(
        _LABELS[text], box, _flag(element, "difficult", name), _flag(element, "truncated", name)
    )


def _number(element, path, name):
    text = element.findtext(path)
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = math.nan
    if not abs(value) < 1e6:  # NaN too.
        state = "is missing" if text is None else f"is {text.strip()[:40]!r}"
        raise InputError(
            f"{name}: <{path.rpartition('/')[2]}> in <{path.partition('/')[0]}> {state}, expected "
            "a number of pixels; mend it"
        )
    return math.floor(value + 0.5)


def _flag(element, tag, name):
    text = (element.findtext(tag) or "0").strip()
    if text not in ("0", "1"):
        raise InputError(f"{name}: <{tag}> is {text[:40]!r}, expected 0 or 1; mend it")
    return text == "1"

"""Reads the annotation files of VOC, as its devkit and labelling tools write them, distrusting
them: they decide where boxes lie, and anyone may have written them.
"""

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import NamedTuple

from data_prep.faults import Faults
from data_prep.object_annotator import BoxEdges

# fmt: off
CLASSES = [
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
]
# fmt: on
_MOST_BYTES = 2**20
_MOST_OBJECTS = 1000
_MOST_TAGS = 50 * _MOST_OBJECTS
# UTF-16 could hide a declaration from this search, and has NULs; VOC's files are ASCII.
_DECLARATIONS = re.compile(rb"<!\s*(DOCTYPE|ENTITY|ELEMENT|ATTLIST)|\0", re.IGNORECASE)
# What tools write for a flag that nobody set.
_UNSET = ("", "unspecified", "unknown", "none", "n/a")
_FLAGS = {"false": False, "no": False, "true": True, "yes": True}


class NamedObject(NamedTuple):
    """One object: name of its class, box (xmin, ymin, xmax, ymax) in 1-based inclusive pixels,
    difficult, truncated.
    """

    name: str
    box: tuple[int, int, int, int]
    difficult: bool
    truncated: bool


class Annotation(NamedTuple):
    """An image's width and height in pixels, and its objects in the file's order."""

    width: int
    height: int
    objects: tuple[NamedObject, ...]


class AnnotationReader:
    """Reads the annotation files of a source and gathers their faults.

    Attributes:
      faults: what is wrong with the files read so far; each names its file.
      edges: what was done with boxes that reach out of their image.
    """

    def __init__(self, faults: Faults, edges: BoxEdges):
        """Args: faults: where to gather them; edges: what to do with boxes that reach out."""
        self.faults, self.edges = faults, edges

    def read(
        self, data: bytes, name: str, picture_size: Callable[[], tuple[int, int] | None]
    ) -> Annotation | None:
        """Reads one file; where it has faults, they are gathered and None is returned.

        Coordinates with decimals, which a few files of VOC2012 have, are rounded; one pixel outside
        the image (a 0, or width + 1) is moved to the edge. A missing or unspecified `difficult` or
        `truncated` is 0, a fraction above 0 is 1. A size that is missing or 0 is the picture's.
        Parts of persons are not read.

        Args:
          data: the file.
          name: for messages.
          picture_size: gives width and height of the picture, or None where it cannot be read.
        """
        before = self.faults.count
        root = self._root(data, name)
        if root is None:
            return None
        size = self._size(root, name, picture_size)
        if size is None:
            return None
        elements = root.findall("object")
        objects = [self._object(element, size, name, n) for n, element in enumerate(elements, 1)]
        if self.faults.count > before:
            return None
        return Annotation(*size, tuple(one for one in objects if one is not None))

    def _root(self, data, name):
        if len(data) > _MOST_BYTES or data.count(b"<") > _MOST_TAGS:
            return self.faults.add(
                f"{name}: {len(data)} bytes and {data.count(b'<')} tags, no annotation has so many"
            )
        if content := _DECLARATIONS.search(data):
            return self.faults.add(
                f"{name}: refused for {content[0].decode('ascii')!r}: annotations hold no "
                "declarations"
            )
        try:
            root = ET.fromstring(data)
        except (ET.ParseError, ValueError, LookupError) as error:
            # ValueError and LookupError come from odd encodings.
            return self.faults.add(f"{name}: not XML ({error})")
        count = len(root.findall("object"))
        if root.tag != "annotation" or count > _MOST_OBJECTS:
            content = f"<{root.tag[:40]}>" if root.tag != "annotation" else f"{count} objects"
            return self.faults.add(
                f"{name}: {content}, expected one <annotation> of at most {_MOST_OBJECTS} objects"
            )
        return root

    def _size(self, root, name, picture_size):
        """(Width, height) in pixels."""
        texts = [(root.findtext(f"size/{side}") or "").strip() for side in ("width", "height")]
        if all(_number(text) == 0 for text in texts) or "" in texts:
            size = picture_size()
            if size is None:
                self.faults.add(f"{name}: says no size, and its picture cannot be read")
            return size
        size = tuple(map(_number, texts))
        if None in size or min(size) < 1:
            return self.faults.add(f"{name}: an image of {texts[0]}x{texts[1]} pixels"[:200])
        return size

    def _object(self, element, size, name, number):
        text = (element.findtext("name") or "").strip()
        if not text:
            return self.faults.add(f"{name}: object {number} has no <name>")
        box = []
        for corner in ("xmin", "ymin", "xmax", "ymax"):
            value = element.findtext(f"bndbox/{corner}")
            box.append(_number(value))
            if box[-1] is None:
                state = "is missing" if value is None else f"is {value.strip()[:40]!r}"
                return self.faults.add(
                    f"{name}: <{corner}> in <bndbox> of object {number} ({text[:40]}) {state}, "
                    "expected a number of pixels"
                )
        flags = [self._flag(element, tag, name) for tag in ("difficult", "truncated")]
        inside, fault = self.edges.inside(tuple(box), size)
        if fault:
            self.faults.add(f"{name}: box {tuple(box)} of a {text[:40]} {fault}")
        return inside and NamedObject(text, inside, *flags)

    def _flag(self, element, tag, name):
        text = (element.findtext(tag) or "").strip().lower()
        if text in _UNSET:
            return False
        if text in _FLAGS:
            return _FLAGS[text]
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value <= 1:
            self.faults.add(f"{name}: <{tag}> is {text[:40]!r}, expected 0 or 1")
            return False
        return value > 0


def _number(text):
    """A number of pixels, rounded; None if it is none."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return math.floor(value + 0.5) if abs(value) < 1e6 else None  # NaN too.

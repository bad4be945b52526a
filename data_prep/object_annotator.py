"""The objects of an image, whatever source tells them: their boxes, seen to lie in the image, and
what the worker processes add to its record.
"""

import dataclasses
import io
import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from PIL import Image

from data_prep import decoding, jpeg, locations

_COLUMNS = 7
_MOST_PIXELS = 1e6
# Enough for the header of nearly every picture; the rest of a file is read where it is not.
_HEADER_BYTES = 16384


class Object(NamedTuple):
    """One object: class in [0, C), box (xmin, ymin, xmax, ymax) in 1-based inclusive pixels,
    difficult, truncated.
    """

    label: int
    box: tuple[int, int, int, int]
    difficult: bool = False
    truncated: bool = False


class ObjectLocation(NamedTuple):
    """Where an image lies, and its objects; a million of these must fit the memory.

    Attributes:
      image: what the converter's `read_image` takes.
      size: width and height in pixels that its boxes are for.
      packed: its objects, see `packed`.
      presence: the state of each class, [C] of 1, -1 or 0 (only difficult objects); None: as the
        objects say.
    """

    image: tuple
    size: tuple[int, int]
    packed: bytes
    presence: tuple[int, ...] | None = None

    @property
    def objects(self) -> list[Object]:
        """The image's objects."""
        rows = np.frombuffer(self.packed, np.int32).reshape(-1, _COLUMNS).tolist()
        return [Object(row[0], tuple(row[1:5]), bool(row[5]), bool(row[6])) for row in rows]


def packed(objects: Iterable[Object]) -> bytes:
    """Returns objects as 28 bytes each, in their order."""
    rows = [(one.label, *one.box, one.difficult, one.truncated) for one in objects]
    return np.array(rows, np.int32).tobytes()


def read_image(location: ObjectLocation) -> bytes:
    """Returns the bytes of an image file."""
    return locations.read_location(location.image)


def size_of(encoded: bytes) -> tuple[int, int] | None:
    """Returns width and height in pixels of an image file, or of as much of it as holds its header;
    None where they cannot be read.
    """
    header = jpeg.read_header(encoded)
    if header is not None:
        return header.width, header.height
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return image.size
    except Exception:  # Decoders raise anything on hostile bytes.
        return None


def size_at(file: locations.SourceFile) -> tuple[int, int] | None:
    """The same of a file of a source, of which no more than needed is read."""
    path, offset, _ = file.location
    start = locations.read_location((path, offset, min(file.size, _HEADER_BYTES)))
    return size_of(start) or size_of(locations.read_location(file.location))


class BoxEdges:
    """Sees to it that boxes lie in their images.

    Attributes:
      num_clipped, num_outside, num_empty: how many boxes were cut, and left out for being wholly
        outside or without any width or height.
    """

    def __init__(self, clip: bool):
        """Args: clip: whether boxes that reach out of their image are cut at its edge, and those
        wholly outside left out; else they are faults, but for one pixel.
        """
        self._clip = clip
        self.num_clipped = self.num_outside = self.num_empty = 0

    def rounded(
        self, edges: tuple[float, float, float, float], size: tuple[int, int]
    ) -> tuple[tuple[int, int, int, int] | None, str]:
        """Returns the pixels that a box covers by half or more, seen to lie in the image as
        `inside` does; or None and its fault, or None and "" where it is left out.

        A box that covers no pixel by half becomes the one its centre lies in.

        Args:
          edges: xmin, ymin, xmax, ymax in pixels; the image begins at 0 and ends at its size.
          size: width and height of the image in pixels.
        """
        if not all(math.isfinite(value) and abs(value) < _MOST_PIXELS for value in edges):
            return None, "is not of numbers of pixels"
        if edges[0] > edges[2] or edges[1] > edges[3]:
            return None, "is inverted (expected xmin <= xmax, ymin <= ymax)"
        if edges[0] == edges[2] or edges[1] == edges[3]:
            self.num_empty += self._clip
            return None, "" if self._clip else (
                "has no width or no height (--clip_boxes leaves such out)"
            )
        (xmin, xmax), (ymin, ymax) = (_covered(edges[k], edges[k + 2]) for k in (0, 1))
        return self.inside((xmin, ymin, xmax, ymax), size)

    def inside(
        self, box: tuple[int, int, int, int], size: tuple[int, int]
    ) -> tuple[tuple[int, int, int, int] | None, str]:
        """Returns the box in the image, or None where it is left out; and its fault, or "".

        Args:
          box: xmin, ymin, xmax, ymax in 1-based inclusive pixels.
          size: width and height of the image in pixels.
        """
        edges = (*size, *size)
        if box[0] > box[2] or box[1] > box[3]:
            return None, "is inverted (expected xmin <= xmax, ymin <= ymax)"
        is_far = any(not 0 <= value <= edge + 1 for value, edge in zip(box, edges, strict=True))
        if is_far and not self._clip:
            return None, (
                f"lies outside the image of {size[0]}x{size[1]} pixels, counted from 1 "
                "(--clip_boxes cuts it)"
            )
        if is_far and (box[2] < 1 or box[3] < 1 or box[0] > edges[0] or box[1] > edges[1]):
            self.num_outside += 1
            return None, ""
        self.num_clipped += is_far
        xmin, ymin, xmax, ymax = (
            min(max(value, 1), edge) for value, edge in zip(box, edges, strict=True)
        )
        return (xmin, ymin, xmax, ymax), ""

    def describe(self) -> str:
        """Returns a line about what was cut and left out; "" where nothing was."""
        if not self.num_clipped and not self.num_outside and not self.num_empty:
            return ""
        return (
            f"clipped {self.num_clipped} boxes at the edge of their image, left out "
            f"{self.num_outside} wholly outside"
            + (f", {self.num_empty} without width or height" if self.num_empty else "")
        )


def _covered(low, high):
    """First and last pixel, from 1, of a stretch from `low` to `high`, which are from 0."""
    first, last = math.floor(low + 0.5) + 1, math.floor(high + 0.5)
    return (first, last) if first <= last else (math.floor((low + high) / 2) + 1,) * 2


def presence_of(objects: Iterable[Object], num_classes: int) -> tuple[int, ...]:
    """Returns the states that VOC's devkit derives from objects: 1 for a class with one that is not
    difficult, 0 with difficult ones alone, else -1.
    """
    states = [-1] * num_classes
    for one in objects:
        states[one.label] = max(states[one.label], 0 if one.difficult else 1)
    return tuple(states)


@dataclasses.dataclass(frozen=True)
class ObjectAnnotator:
    """Adds boxes, classes and class states. Attributes: class_names."""

    class_names: tuple[str, ...]

    def features(self, location: ObjectLocation, image: decoding.ConvertedImage) -> dict:
        """See `image_set.Annotator`."""
        from ccssl_tf.data import voc_records

        check_size(location.size, image, "its annotation")
        objects = location.objects
        presence = location.presence or presence_of(objects, len(self.class_names))
        return voc_records.presence_features(presence) | voc_records.object_features(
            np.array([one.box for one in objects], np.int64),
            [one.label for one in objects],
            [self.class_names[one.label].encode() for one in objects],
            difficult=[one.difficult for one in objects],
            truncated=[one.truncated for one in objects],
            height=image.height,
            width=image.width,
        )

    def tfds_features(self) -> dict:
        """See `image_set.Annotator`."""
        import tensorflow_datasets as tfds

        return {
            f"image/object/bbox/{name}": tfds.features.Sequence(np.float32)
            for name in ("xmin", "ymin", "xmax", "ymax")
        } | {
            "image/object/class/label": tfds.features.Sequence(
                tfds.features.ClassLabel(names=list(self.class_names))
            ),
            "image/object/class/text": tfds.features.Sequence(tfds.features.Text()),
            "image/object/difficult": tfds.features.Sequence(np.int64),
            "image/object/truncated": tfds.features.Sequence(np.int64),
            "image/class/presence": tfds.features.Tensor(
                shape=(len(self.class_names),), dtype=np.int64
            ),
        }


def check_size(size: tuple[int, int], image: decoding.ConvertedImage, what: str):
    """Raises BadImage where `what` says another size (width, height) than the image has, or the
    image was turned, which would leave its boxes or mask behind.
    """
    if "rotated" in image.reasons:
        raise decoding.BadImage(
            "its EXIF or XMP asks for a rotation, which boxes and masks know nothing of; remove it"
        )
    if size != (image.width, image.height):
        raise decoding.BadImage(
            f"{image.width}x{image.height} pixels, {what} says {size[0]}x{size[1]}"
        )

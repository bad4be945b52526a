"""The class of every pixel from COCO's polygons and run lengths, drawn by pycocotools.

Values are 0 for background, 1 + the category's number, and 255 for crowds, which are drawn first.
Larger objects are drawn before smaller ones, so that what lies on them stays visible.
"""

import io
import json
from typing import NamedTuple

import numpy as np
from PIL import Image

from ccssl_tf.data.voc_colors import VOID
from ccssl_tf.runs.errors import InputError
from data_prep import decoding
from data_prep.object_annotator import check_size


class MaskLocation(NamedTuple):
    """Where an image lies, and its objects' shapes.

    Attributes:
      image: what `read_location` takes.
      size: width and height in pixels.
      shapes: JSON of [value, whether a crowd, polygons or run lengths] for each object.
    """

    image: tuple
    size: tuple[int, int]
    shapes: bytes


def require_pycocotools():
    """Returns pycocotools.mask; raises InputError where it is not installed."""
    try:
        from pycocotools import mask
    except ImportError as error:
        raise InputError(
            "--task=segmentation: needs pycocotools (pip install -e '.[coco]')"
        ) from error
    return mask


class CocoMaskAnnotator:
    """Adds the mask, as an 8-bit grey PNG of the classes."""

    def features(self, location: MaskLocation, image: decoding.ConvertedImage) -> dict:
        """See `image_set.Annotator`."""
        from ccssl_tf.data import voc_records

        check_size(location.size, image, "its annotation")
        encoded = io.BytesIO()
        Image.fromarray(mask_values(location)).save(encoded, "PNG", optimize=True)
        return voc_records.mask_features(encoded.getvalue())

    def tfds_features(self) -> dict:
        """See `image_set.Annotator`."""
        import tensorflow_datasets as tfds

        mask = tfds.features.Image(shape=(None, None, 1), dtype=np.uint8, encoding_format="png")
        return {
            "image/segmentation/class/encoded": mask,
            "image/segmentation/class/format": tfds.features.Text(),
        }


def mask_values(location: MaskLocation) -> np.ndarray:
    """Returns the values of an image's pixels, [H, W] uint8; raises BadImage for shapes that cannot
    be drawn.
    """
    coco_mask = require_pycocotools()
    width, height = location.size
    drawn = []
    for value, is_crowd, shape in json.loads(location.shapes):
        try:
            coded = _coded(coco_mask, checked_shape(shape, location.size), height, width)
        except Exception as error:  # pycocotools raises anything on shapes of another form.
            raise decoding.BadImage(f"a segmentation that cannot be drawn ({error})") from error
        area = int(coco_mask.area(coded))
        drawn.append((not is_crowd, -area, VOID if is_crowd else value, coded))
    values = np.zeros([height, width], np.uint8)
    # Crowds first, then the larger objects; decoded one by one, each is as large as the image.
    for _, _, value, coded in sorted(drawn, key=lambda one: one[:2]):
        values[coco_mask.decode(coded).astype(bool)] = value
    return values


def _coded(coco_mask, shape, height, width):
    """Run lengths as pycocotools has them, of what `checked_shape` gives."""
    if isinstance(shape, list):
        return coco_mask.merge(coco_mask.frPyObjects(shape, height, width))
    return coco_mask.frPyObjects(shape, height, width)


def checked_shape(shape: object, size: tuple[int, int]) -> list | dict:
    """Returns polygons as they are, and run lengths uncompressed.

    pycocotools trusts what it is given: polygons far outside of the image take any amount of memory
    to draw, and what run lengths leave open is left undefined.

    Args:
      shape: an annotation's `segmentation`.
      size: width and height of the image in pixels.

    Raises:
      ValueError: it is neither, or not of this image; the message says why.
    """
    width, height = size
    if isinstance(shape, list):
        for polygon in shape:
            points = np.asarray(polygon, np.float64)
            if points.ndim != 1 or len(points) < 6 or len(points) % 2:
                raise ValueError("a polygon that is no list of three or more x, y")
            side = max(size)
            if not (np.isfinite(points).all() and -side <= points.min() <= points.max() < 2 * side):
                raise ValueError(f"a polygon far outside of {width}x{height} pixels")
        if shape:
            return shape
    if not isinstance(shape, dict):
        raise ValueError("neither polygons nor run lengths")
    if not isinstance(shape.get("size"), list) or shape["size"] != [height, width]:
        raise ValueError(f"run lengths with the size {str(shape.get('size'))[:40]}")
    counts = shape.get("counts")
    counts = _uncompressed(counts) if isinstance(counts, str) else counts
    if not isinstance(counts, list) or not all(type(count) is int for count in counts):
        raise ValueError("run lengths that are no whole numbers")
    if min(counts, default=0) < 0 or sum(counts) != height * width:
        raise ValueError(f"run lengths of {sum(counts)} pixels, not {height * width}")
    return dict(size=[height, width], counts=counts)


def _uncompressed(text):
    """The run lengths of COCO's compressed form: differences to the last but one, five bits a
    character, 32 saying that more follow and the sign being that of the last five.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 60:
            raise ValueError("run lengths in unknown characters")
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("run lengths that are cut off")
    return counts

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
            pixels = _pixels(coco_mask, shape, height, width)
        except Exception as error:  # pycocotools raises anything on shapes of another form.
            raise decoding.BadImage(f"a segmentation that cannot be drawn ({error})") from error
        drawn.append((not is_crowd, -int(pixels.sum()), VOID if is_crowd else value, pixels))
    values = np.zeros([height, width], np.uint8)
    # Crowds first, then the larger objects.
    for _, _, value, pixels in sorted(drawn, key=lambda one: one[:2]):
        values[pixels] = value
    return values


def _pixels(coco_mask, shape, height, width):
    """The pixels of polygons, or of run lengths, compressed or not: [H, W] bool."""
    if isinstance(shape, list):
        coded = coco_mask.merge(coco_mask.frPyObjects(shape, height, width))
        return coco_mask.decode(coded).astype(bool)
    # Looked at before anything of that size is made.
    if list(shape["size"]) != [height, width]:
        raise ValueError(f"of {shape['size'][1]}x{shape['size'][0]} pixels")
    if isinstance(shape["counts"], list):
        if sum(shape["counts"]) != height * width or min(shape["counts"], default=0) < 0:
            raise ValueError(f"run lengths of {sum(shape['counts'])} pixels")
        coded = coco_mask.frPyObjects(shape, height, width)
    else:
        coded = dict(size=shape["size"], counts=shape["counts"].encode())
    return coco_mask.decode(coded).astype(bool)

"""What the worker processes add to a VOC image's record: its objects, or its segmentation mask."""

import dataclasses
import io
from typing import NamedTuple

import numpy as np
from PIL import Image

from data_prep import decoding, locations
from data_prep.mask_values import MaskColors, read_png_mask
from data_prep.voc_xml import Annotation

_MOST_MAT_BYTES = 64 * 2**20


class DetectionLocation(NamedTuple):
    """Where the image lies, what its annotation says, the class of each object, and the state of
    each class: [C] of 1, -1 or 0 (only difficult objects).
    """

    image: tuple
    annotation: Annotation
    labels: tuple[int, ...]
    presence: tuple[int, ...]


class SegmentationLocation(NamedTuple):
    """Where the image and its mask lie; `mask_name` ends in .png (VOC) or .mat (SBD)."""

    image: tuple
    mask: tuple
    mask_name: str


def read_image(location: DetectionLocation | SegmentationLocation) -> bytes:
    """Returns the bytes of the image file."""
    return locations.read_location(location.image)


@dataclasses.dataclass(frozen=True)
class DetectionAnnotator:
    """Adds boxes, classes and class states. Attributes: class_names."""

    class_names: tuple[str, ...]

    def features(self, location: DetectionLocation, image: decoding.ConvertedImage) -> dict:
        """See `image_set.Annotator`."""
        from ccssl_tf.data import voc_records

        _check_size(location.annotation.width, location.annotation.height, image, "its annotation")
        objects = location.annotation.objects
        return voc_records.presence_features(location.presence) | voc_records.object_features(
            np.array([one.box for one in objects], np.int64),
            list(location.labels),
            [one.name.encode() for one in objects],
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


@dataclasses.dataclass(frozen=True)
class SegmentationAnnotator:
    """Adds the mask, stored as an 8-bit grey PNG of the classes, which every decoder reads alike.

    Attributes:
      colors: what the numbers and colours of masks mean.
    """

    colors: MaskColors

    def features(self, location: SegmentationLocation, image: decoding.ConvertedImage) -> dict:
        """See `image_set.Annotator`."""
        from ccssl_tf.data import voc_records

        data = locations.read_location(location.mask)
        try:
            if location.mask_name.endswith(".mat"):
                mask = self.colors.checked(read_sbd_mask(data))
            else:
                mask, _ = read_png_mask(data, self.colors, (image.width, image.height))
        except decoding.BadImage as error:
            raise decoding.BadImage(f"{location.mask_name}: {error}") from error
        _check_size(mask.shape[1], mask.shape[0], image, location.mask_name)
        encoded = io.BytesIO()
        Image.fromarray(mask).save(encoded, "PNG", optimize=True)
        return voc_records.mask_features(encoded.getvalue())

    def tfds_features(self) -> dict:
        """See `image_set.Annotator`."""
        import tensorflow_datasets as tfds

        mask = tfds.features.Image(shape=(None, None, 1), dtype=np.uint8, encoding_format="png")
        return {
            "image/segmentation/class/encoded": mask,
            "image/segmentation/class/format": tfds.features.Text(),
        }


def read_sbd_mask(data: bytes) -> np.ndarray:
    """Returns `GTcls.Segmentation`, [H, W] uint8, of one of SBD's MATLAB files; raises BadImage if
    it is none.
    """
    import scipy.io

    if len(data) > _MOST_MAT_BYTES:
        raise decoding.BadImage(f"{len(data)} bytes, no mask is so large")
    try:
        mask = scipy.io.loadmat(io.BytesIO(data), variable_names=["GTcls"])["GTcls"][
            "Segmentation"
        ][0, 0]
        if mask.ndim != 2 or mask.dtype != np.uint8:
            raise ValueError(f"{mask.dtype} of {mask.ndim} dimensions")
    except MemoryError:
        raise
    except Exception as error:  # So does MATLAB's reader.
        raise decoding.BadImage(f"no mask in GTcls.Segmentation ({error})") from error
    return mask


def _check_size(width, height, image, what):
    # An image turned upright would leave its boxes and mask behind; VOC has none.
    if "rotated" in image.reasons:
        raise decoding.BadImage(
            "its EXIF or XMP asks for a rotation, which boxes and masks know nothing of; remove it"
        )
    if (width, height) != (image.width, image.height):
        raise decoding.BadImage(
            f"{image.width}x{image.height} pixels, {what} says {width}x{height}"
        )

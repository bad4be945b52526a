"""What the worker processes add to a VOC image's record: its objects, or its segmentation mask."""

import io
from typing import NamedTuple

import numpy as np
from PIL import Image

from data_prep import decoding, locations
from data_prep.voc_xml import CLASSES, Annotation

_MOST_MAT_BYTES = 64 * 2**20


class DetectionLocation(NamedTuple):
    """Where the image lies, what its annotation says, and the state of each class: [20] of 1, -1 or
    0 (only difficult objects).
    """

    image: tuple
    annotation: Annotation
    presence: tuple[int, ...]


class SegmentationLocation(NamedTuple):
    """Where the image and its mask lie; `mask_name` ends in .png (VOC) or .mat (SBD)."""

    image: tuple
    mask: tuple
    mask_name: str


def read_image(location: DetectionLocation | SegmentationLocation) -> bytes:
    """Returns the bytes of the image file."""
    return locations.read_location(location.image)


class DetectionAnnotator:
    """Adds boxes, classes and class states."""

    def features(self, location: DetectionLocation, image: decoding.ConvertedImage) -> dict:
        """See `image_set.Annotator`."""
        from ccssl_tf.data import voc_records

        _check_size(location.annotation.width, location.annotation.height, image, "its annotation")
        objects = location.annotation.objects
        return voc_records.presence_features(location.presence) | voc_records.object_features(
            np.array([one.box for one in objects], np.int64),
            [one.label for one in objects],
            [CLASSES[one.label].encode() for one in objects],
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
                tfds.features.ClassLabel(names=CLASSES)
            ),
            "image/object/class/text": tfds.features.Sequence(tfds.features.Text()),
            "image/object/difficult": tfds.features.Sequence(np.int64),
            "image/object/truncated": tfds.features.Sequence(np.int64),
            "image/class/presence": tfds.features.Tensor(shape=(len(CLASSES),), dtype=np.int64),
        }


class SegmentationAnnotator:
    """Adds the mask, stored as an 8-bit grey PNG of the same class indices, which every decoder
    reads alike.
    """

    def features(self, location: SegmentationLocation, image: decoding.ConvertedImage) -> dict:
        """See `image_set.Annotator`."""
        from ccssl_tf.data import voc_records

        data = locations.read_location(location.mask)
        try:
            mask = (
                read_sbd_mask(data)
                if location.mask_name.endswith(".mat")
                else read_png_mask(data, (image.width, image.height))
            )
        except decoding.BadImage as error:
            raise decoding.BadImage(f"{location.mask_name}: {error}") from error
        _check_size(mask.shape[1], mask.shape[0], image, location.mask_name)
        unknown = np.setdiff1d(mask, [*range(len(CLASSES) + 1), 255])
        if unknown.size:
            raise decoding.BadImage(
                f"{location.mask_name}: holds class {unknown[0]}, expected 0..{len(CLASSES)} or 255"
            )
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


def read_png_mask(data: bytes, size: tuple[int, int]) -> np.ndarray:
    """Returns the palette (or grey) indices [H, W] uint8 of a mask.

    Args:
      data: the PNG.
      size: width and height it must have; compared before anything is decoded.

    Raises:
      BadImage: not such a PNG.
    """
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            image.verify()  # Its checksums. An image is used up by that.
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            if image.mode not in ("P", "L"):
                raise decoding.BadImage(
                    f"a mask of mode {image.mode}; class indices (palette or grey) are needed, not "
                    "colours"
                )
            if image.size != size:
                raise decoding.BadImage(
                    f"{image.size[0]}x{image.size[1]} pixels, the image has {size[0]}x{size[1]}"
                )
            return np.array(image)
    except (MemoryError, decoding.BadImage):
        raise
    except Exception as error:  # Decoders raise anything on hostile bytes.
        raise decoding.BadImage(f"not a whole PNG ({error})") from error


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
    if "exif_rotated" in image.reasons:
        raise decoding.BadImage(
            "has an EXIF rotation, which boxes and masks know nothing of; remove the tag"
        )
    if (width, height) != (image.width, image.height):
        raise decoding.BadImage(
            f"{image.width}x{image.height} pixels, {what} says {width}x{height}"
        )

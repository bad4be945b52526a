"""What the worker processes add to a VOC image's record: its segmentation mask."""

import dataclasses
import io
from typing import NamedTuple

import numpy as np
from PIL import Image

from data_prep import decoding, locations, mat_files
from data_prep.mask_values import MaskColors, read_png_mask
from data_prep.object_annotator import check_size

_MOST_MAT_BYTES = 64 * 2**20


class SegmentationLocation(NamedTuple):
    """Where the image and its mask lie; `mask_name` ends in .png (VOC) or .mat (SBD)."""

    image: tuple
    mask: tuple
    mask_name: str


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
        check_size((mask.shape[1], mask.shape[0]), image, location.mask_name)
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
    if len(data) > _MOST_MAT_BYTES:
        raise decoding.BadImage(f"{len(data)} bytes, no mask is so large")
    try:
        (mask,) = mat_files.read_mat("segmentation", data)
    except mat_files.UnreadableMat as error:
        raise decoding.BadImage(f"no mask in GTcls.Segmentation ({error})") from error
    return mask

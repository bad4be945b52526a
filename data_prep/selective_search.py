"""Selective search (Uijlings et al. 2013) by OpenCV, image by image, remembered so that no image is
searched twice.

OpenCV returns the same set of boxes every time but in another order, so they are put into an order
of our own. The boxes are not those of the MATLAB program older results rest on (other scales and
similarities): call results "OpenCV selective search".
"""

import dataclasses
import hashlib
import io
import pathlib

import numpy as np

from ccssl_tf.data.numpy_files import read_array
from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.files import write_bytes


def require_opencv():
    """Returns OpenCV; raises InputError with the command that installs it."""
    try:
        import cv2

        cv2.ximgproc.segmentation.createSelectiveSearchSegmentation  # noqa: B018 - absent from OpenCV without its contrib modules.
    except (ImportError, AttributeError) as error:
        raise InputError(
            "--method=selective_search needs OpenCV with its contrib modules: pip install "
            "'ccssl_tf[detection]'; "
            "or use --method=precomputed"
        ) from error
    return cv2


def search(pixels: np.ndarray, mode: str, min_side: int) -> np.ndarray:
    """Returns all boxes of an image.

    Args:
      pixels: [H, W, 3] uint8, RGB.
      mode: "fast" or "quality".
      min_side: boxes with a side shorter than this many pixels are dropped.

    Returns:
      [R, 4] int32 xmin, ymin, xmax, ymax, 1-based inclusive pixels, sorted, none twice.
    """
    cv2 = require_opencv()
    cv2.setNumThreads(1)  # One process per core already.
    if min(pixels.shape[:2]) < 2:
        return np.zeros([0, 4], np.int32)
    segmentation = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    segmentation.setBaseImage(np.ascontiguousarray(pixels[..., ::-1]))
    {
        "fast": segmentation.switchToSelectiveSearchFast,
        "quality": segmentation.switchToSelectiveSearchQuality,
    }[mode]()
    x, y, width, height = np.reshape(segmentation.process(), [-1, 4]).astype(np.int32).T
    boxes = np.stack([x + 1, y + 1, x + width, y + height], axis=1)
    return np.unique(boxes[(width >= min_side) & (height >= min_side)], axis=0)


@dataclasses.dataclass(frozen=True)
class SelectiveSearch:
    """Proposals of images by their bytes.

    Attributes:
      mode: "fast" or "quality".
      min_side: pixels, see `search`.
      cache_dir: existing directory that remembers the boxes of every image; removed by its owner.
    """

    mode: str
    min_side: int
    cache_dir: pathlib.Path

    def boxes(self, parsed: dict[str, np.ndarray]) -> np.ndarray:
        """Returns [R, 4] int32 (see `search`), in an order that depends on the image alone and has
        no preference for any part of it.
        """
        encoded = parsed["encoded"]
        digest = hashlib.sha256(encoded).digest()
        path = self.cache_dir / f"{digest.hex()}.npy"
        if path.is_file():
            return read_array(path, advice="remove it to have the image searched again")
        import tensorflow as tf

        found = search(tf.io.decode_jpeg(encoded, channels=3).numpy(), self.mode, self.min_side)
        found = np.random.default_rng(list(digest)).permutation(found)
        file = io.BytesIO()
        np.save(file, found, allow_pickle=False)
        write_bytes(path, file.getvalue())
        return found

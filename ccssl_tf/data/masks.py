"""Data sets with a class for every pixel: that they have masks, what their images are called, lists
of these.
"""

import itertools
import pathlib

import numpy as np
import tensorflow as tf

from ccssl_tf.data import records, voc_records
from ccssl_tf.data.datasets import fixed, serialized_records
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.data.voc_colors import VOID
from ccssl_tf.runs.errors import InputError

_SHOWN = 5
# Masks of each split that are looked at before anything is trained on them.
_CHECKED = 8


def mask_classes(data_dir, splits) -> list[str]:
    """Returns the names of the classes in the masks, "background" (0) first.

    Args:
      data_dir: image shards.
      splits: splits that are needed; the first masks of each are looked at.

    Raises:
      InputError: there is no such split, or there are no masks, or they have other classes than the
        data set names.
    """
    manifest = Manifest.read(data_dir, "images")
    names: list[str] = manifest.info.get("class_names") or []
    for split in splits:
        if split not in manifest.splits:
            raise InputError(
                f"{data_dir}: no split {split}, but {', '.join(manifest.splits)}; convert it with "
                "data_prep.voc"
            )
        first = list(itertools.islice(_serialized(data_dir, manifest, split), _CHECKED))
        if not first:
            raise InputError(f"{data_dir}: split {split} is empty")
        if not names or not all(
            len(voc_records.parse_voc_image(one)["mask"].numpy()) for one in first
        ):
            raise InputError(
                f"{data_dir}: the images of split {split} have no masks; convert with "
                "data_prep.voc --task=segmentation"
            )

        @tf.autograph.experimental.do_not_convert
        def mask_of(one, split=split):
            return decoded_mask(voc_records.parse_voc_image(one), data_dir, split, 1 + len(names))

        with records.naming_damage(data_dir):
            for _ in fixed(tf.data.Dataset.from_tensor_slices(first)).map(mask_of):
                pass
    return ["background", *names]


def decoded_mask(parsed, data_dir, split: str, num_classes: int):
    """Returns the classes of an image's pixels, [H, W] uint8, in a graph that ends with an
    InputError (see `records.required`) where they are not below `num_classes`, nor void, or where
    the mask is not of the photo's size.

    Args:
      parsed: of `voc_records.parse_voc_image`.
      data_dir, split: for the message.
      num_classes: background included.
    """
    mask, where = voc_records.decode_mask(parsed["mask"]), f"{data_dir}: split {split}"
    greatest = tf.reduce_max(tf.where(mask == VOID, tf.zeros_like(mask), mask))
    message = (
        f"has class {{}} in its mask, and the {num_classes} classes are numbered from 0; "
        "convert it again with the names of all"
    )
    mask = records.required(
        mask, tf.cast(greatest, tf.int32) < num_classes, where, parsed, message, greatest
    )
    size, of_photo = tf.shape(mask), tf.io.extract_jpeg_shape(parsed["encoded"])[:2]
    message = "is of size {}, its mask of {}; convert it again"
    return records.required(
        mask, tf.reduce_all(size == of_photo), where, parsed, message, of_photo, size
    )


def _serialized(data_dir, manifest, split):
    for shard in manifest.shards(split):
        yield from records.read_shard(pathlib.Path(data_dir) / shard.name)


def image_ids(data_dir, split: str) -> list[str]:
    """Returns the names of the images of a split without directory and suffix, by index:
    2007_000033 for VOC's.
    """
    manifest = Manifest.read(data_dir, "images")
    files = [pathlib.Path(data_dir) / shard.name for shard in manifest.shards(split)]
    ids = [""] * manifest.num_examples(split)
    for parsed in serialized_records(files).map(records.parse_image).as_numpy_iterator():
        ids[parsed["index"]] = pathlib.PurePosixPath(
            parsed["filename"].decode(errors="replace")
        ).stem
    return ids


def listed_indices(data_dir, split: str, path) -> np.ndarray:
    """Returns the sorted indices [n] int64 of the images of `split` that a file of ids names, one a
    line.

    Raises:
      InputError: no such file, it names no image, or images that are not in the split (the first of
        them are named).
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; name a list of image ids, one a line")
    listed = [
        line.split()[0]
        for line in path.read_text("utf-8-sig", "replace").splitlines()
        if line.strip()
    ]
    place = {image_id: index for index, image_id in enumerate(image_ids(data_dir, split))}
    if missing := [image_id for image_id in listed if image_id not in place]:
        shown = ", ".join(missing[:_SHOWN]) + (" ..." if len(missing) > _SHOWN else "")
        raise InputError(
            f"{path}: {len(missing)} of {len(listed)} images are not in split {split} of "
            f"{data_dir}: {shown}"
        )
    if not listed:
        raise InputError(f"{path}: names no image; it must have one id a line")
    return np.unique([place[image_id] for image_id in listed]).astype(np.int64)

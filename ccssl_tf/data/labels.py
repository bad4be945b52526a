"""Class labels of a data set, checked before anything is trained on them."""

import pathlib

from ccssl_tf.data import records
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.errors import InputError


def class_names(data_dir, splits=()) -> list[str]:
    """Returns the class names of an image directory.

    Args:
      data_dir: image shards.
      splits: splits whose images must have labels; the first image of each is looked at, for a converter labels all or none.

    Raises:
      InputError: the images have no labels, or there is no such split.
    """
    manifest = Manifest.read(data_dir, "images")
    names = manifest.info.get("class_names")
    if not names:
        raise InputError(f"{data_dir}: its images have no class labels, which this task needs; convert them from class folders")
    for split in splits:
        paths = [pathlib.Path(data_dir) / shard.name for shard in manifest.shards(split) if shard.num_examples]
        if paths and int(records.parse_image(next(records.read_shard(paths[0])))["label"]) == records.UNLABELLED:
            raise InputError(f"{data_dir}: the images of split {split} have no class labels; convert them with labels")
    return names

"""Class labels of a data set, checked before anything is trained on them."""

import pathlib

from ccssl_tf.data import records
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.runs.errors import InputError


def class_names(data_dir, splits=()) -> list[str]:
    """Returns the class names of an image directory.

    Args:
      data_dir: image shards.
      splits: splits whose images must have labels; the first image of each is looked at, for a
        converter labels all or none.

    Raises:
      InputError: the images have no labels, or there is no such split, or one is empty.
    """
    manifest = Manifest.read(data_dir, "images")
    names = manifest.info.get("class_names")
    if not names:
        raise InputError(
            f"{data_dir}: its images have no class labels, which this task needs; convert them "
            "from class folders"
        )
    for split in splits:
        if split not in manifest.splits:
            raise InputError(f"{data_dir}: no split {split}, but {', '.join(manifest.splits)}")
        paths = [
            pathlib.Path(data_dir) / shard.name
            for shard in manifest.shards(split)
            if shard.num_examples
        ]
        if not paths:
            raise InputError(f"{data_dir}: split {split} is empty")
        if (
            int(records.parse_image(next(records.read_shard(paths[0])))["label"])
            == records.UNLABELLED
        ):
            raise InputError(
                f"{data_dir}: the images of split {split} have no class labels; convert them with "
                "labels"
            )
    return names


def checked_label(parsed, data_dir, split: str, num_classes: int):
    """Returns the label of an image of `split`, int64, in a graph that ends with an InputError
    where it is not in [0, num_classes).

    Args:
      parsed: of `records.parse_image`.
      data_dir, split, num_classes: for the message, see `records.required`.
    """
    label, message = (
        parsed["label"],
        f"has label {{}}, and the {num_classes} classes are numbered from 0; convert it again",
    )
    return records.required(
        label,
        (label >= 0) & (label < num_classes),
        f"{data_dir}: split {split}",
        parsed,
        message,
        label,
    )


def parse_labelled(data_dir, split: str, num_classes: int):
    """Returns `records.parse_image` with `checked_label`."""

    def parse(serialized):
        parsed = records.parse_image(serialized)
        return dict(parsed, label=checked_label(parsed, data_dir, split, num_classes))

    return parse

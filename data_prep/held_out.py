"""Chooses the images that are held out where a source has no `val`."""

import dataclasses

import numpy as np

from ccssl_tf.runs.errors import InputError
from data_prep.image_set import ImageSet


def with_val(source, image_set: ImageSet, val_fraction: float, seed: int) -> ImageSet:
    """Returns the set with a seeded share of its training images as `val`, where it has none: the
    same share of every class, but for rounding, and never the last image of one.

    Raises:
      InputError: too few images.
    """
    items = image_set.splits
    if "train" not in items or "val" in items or not val_fraction:
        return image_set
    train = items["train"]
    count = max(1, round(val_fraction * len(train)))
    if count >= len(train):
        raise InputError(
            f"{source}: {len(train)} image(s) are too few for --val_fraction={val_fraction}; set "
            "it to 0"
        )
    chosen = _share_of_each_class(np.array([item.label for item in train]), count, seed)
    split = {
        "train": [item for i, item in enumerate(train) if i not in chosen],
        "val": [train[i] for i in sorted(chosen)],
    }
    others = {name: rest for name, rest in items.items() if name != "train"}
    return dataclasses.replace(image_set, splits={**split, **others})


def _share_of_each_class(labels: np.ndarray, count: int, seed: int) -> set[int]:
    """Chooses about `count` of the positions; where all classes are of one image, of these."""
    order = np.random.default_rng(seed).permutation(len(labels))
    share = count / len(labels)
    chosen: list[int] = []
    # Each class takes what its share says beyond what was taken before: so roundings do not add up.
    due = 0.0
    for label in np.unique(labels):
        members = order[labels[order] == label]
        due += share * len(members)
        taken = min(max(round(due), 0), len(members) - 1)
        due -= taken
        chosen += members[:taken].tolist()
    return set(chosen or order[:count].tolist())

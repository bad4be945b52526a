"""Keeps few training images of every class: for probes and fine-tuning with one or ten labels a
class, or with one or ten images in a hundred of ImageNet (13 or 128 a class).

That is a data set of its own, so that every task, cache and command can be used on it as it is, and
nothing but the images that were drawn is read.
"""

import dataclasses

import numpy as np

from ccssl_tf.data import few_shots
from ccssl_tf.runs.errors import InputError
from data_prep.image_set import ImageSet


def with_few_train(source, image_set: ImageSet, train_per_class: int, seed: int) -> ImageSet:
    """Returns the set with `train_per_class` images of every class as `train`, drawn by the seed;
    the other splits stay whole. Fewer images are part of more, by the same seed.

    Raises:
      InputError: the images have no classes, there is no `train`, or a class has too few images.
    """
    flag = f"--train_per_class={train_per_class}"
    names, train = image_set.class_names, image_set.splits.get("train")
    if not train:
        raise InputError(f"{source}: {flag}: there is no split train to draw from")
    labels = np.array([item.label for item in train])
    if not names or labels.min() < 0:
        raise InputError(f"{source}: {flag}: its training images have no class labels")
    rank = np.argsort(np.random.default_rng(seed).permutation(len(train)))
    flag = f"{source}: {flag}"
    chosen = few_shots.of_every_class(labels, names, rank, train_per_class, flag)
    return dataclasses.replace(
        image_set, splits={**image_set.splits, "train": [train[i] for i in chosen]}
    )

"""Few training images of every class."""

import collections

import numpy as np
import pytest

from ccssl_tf.data import image_facts
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.runs.errors import InputError
from data_prep.few_shots import with_few_train
from data_prep.image_set import ImageSet, Item


def _set(sizes, labelled=True):
    splits = {
        split: [
            Item(f"{split}/{name}/{number}.jpg".encode(), label if labelled else -1, 1, ())
            for label, (name, size) in enumerate(sizes.items())
            for number in range(size)
        ]
        for split in ("train", "val")
    }
    return ImageSet(splits, list(sizes) if labelled else None, "test", lambda location: b"")


def _names(image_set):
    return {item.name for item in image_set.splits["train"]}


def test_every_class_gives_as_many_and_val_stays_whole():
    sizes = dict(large=60, middle=31, small=9)
    few = with_few_train("source", _set(sizes), 9, 3)
    assert collections.Counter(i.label for i in few.splits["train"]) == {0: 9, 1: 9, 2: 9}
    assert few.splits["val"] == _set(sizes).splits["val"]


def test_the_seed_draws_and_fewer_are_part_of_more():
    sizes = dict(a=40, b=50)
    one, ten, other = (
        _names(with_few_train("source", _set(sizes), count, seed))
        for count, seed in ((1, 0), (10, 0), (10, 1))
    )
    assert one < ten and ten != other and len(one) == 2


def test_what_cannot_be_drawn_is_refused():
    sizes = dict(a=40, b=3)
    with pytest.raises(InputError, match=r"--train_per_class=5: fewer .* of b \(3\); use a small"):
        with_few_train("source", _set(sizes), 5, 0)
    with pytest.raises(InputError, match="no class labels"):
        with_few_train("source", _set(sizes, labelled=False), 2, 0)
    image_set = _set(sizes)
    image_set.splits.pop("train")
    with pytest.raises(InputError, match="no split train"):
        with_few_train("source", image_set, 2, 0)


def test_converted_images_are_drawn_from_again(commands, shapes_dir, tmp_path):
    few = tmp_path / "few"
    output, _ = commands.run(
        "tfrecord_import",
        f"--source={shapes_dir}",
        f"--output_dir={few}",
        "--train_per_class=2",
        "--num_workers=1",
    )
    manifest = Manifest.read(few, "images")
    whole = Manifest.read(shapes_dir, "images")
    classes = len(whole.info["class_names"])
    assert manifest.info["class_names"] == whole.info["class_names"]
    assert manifest.num_examples("train") == 2 * classes, output
    assert manifest.num_examples("val") == whole.num_examples("val")
    facts = image_facts.read_image_facts(few, "train", manifest.fingerprint("train"))
    assert np.bincount(facts.labels).tolist() == [2] * classes

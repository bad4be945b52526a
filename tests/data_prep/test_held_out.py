"""What becomes val where a source has none."""

import collections

import pytest

from ccssl_tf.runs.errors import InputError
from data_prep.held_out import with_val
from data_prep.image_set import ImageSet, Item


def _set(sizes):
    items = [
        Item(f"{name}/{number}.jpg".encode(), label, 1, ())
        for label, (name, size) in enumerate(sizes.items())
        for number in range(size)
    ]
    return ImageSet({"train": items}, list(sizes), "source", lambda location: b"")


def test_every_class_gives_its_share_and_keeps_an_image():
    sizes = dict(large=60, middle=31, small=9, pair=2, single=1)
    for seed in range(5):
        image_set = with_val("source", _set(sizes), 0.1, seed)
        assert sum(map(len, image_set.splits.values())) == 103
        counts = collections.Counter(
            image_set.class_names[item.label] for item in image_set.splits["val"]
        )
        assert sum(counts.values()) == 10
        for name, size in sizes.items():
            assert abs(counts[name] - 0.1 * size) < 1 and counts[name] < size


def test_classes_of_one_image_each_give_some_of_these():
    sizes = dict.fromkeys("abcdefghij", 1)
    image_set = with_val("source", _set(sizes), 0.2, 0)
    assert {name: len(items) for name, items in image_set.splits.items()} == dict(train=8, val=2)


def test_too_few_images_are_refused():
    with pytest.raises(InputError, match="1 image.s. are too few"):
        with_val("source", _set(dict(a=1)), 0.1, 0)

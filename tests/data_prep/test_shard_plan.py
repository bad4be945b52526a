"""Which images go into which shard is a function of the data and the seed."""

import dataclasses
import io
import itertools
import pathlib

import numpy as np
from PIL import Image

from data_prep.decoding import DecodeOptions
from data_prep.image_set import ImageSet, Item
from data_prep.shard_plan import convert_sample, plan_split, shards_for


def _read(location):
    return location[0]


def _jpeg(size):
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    Image.fromarray(noise).save(file, "JPEG")
    return file.getvalue()


def _image_set(count, data=b""):
    items = [Item(b"%d" % i, -1, len(data), (data,)) for i in range(count)]
    return ImageSet({"train": items}, None, "test", _read)


def test_the_number_of_shards_is_a_function_of_the_data():
    assert shards_for("train", 1, 100) == 1
    assert shards_for("train", 3000, 12e6) == 12
    assert shards_for("train", 15000, 30e6) == 16
    assert shards_for("train", 1_281_167, 140e9) == 1024
    assert shards_for("val", 50_000, 6.7e9) == 50
    assert shards_for("val", 36_500, 40e9) == 128
    assert shards_for("train", 3, 1e12) == 3


def test_every_image_is_in_one_shard_and_the_seed_sets_the_order():
    image_set = _image_set(1100)

    def plan(seed):
        path = pathlib.Path("out")
        return plan_split(image_set, "train", path, DecodeOptions(), num_bytes=0, seed=seed)

    tasks = plan(0)
    assert [task.path.name for task in tasks][0] == "train-00000-of-00004.tfrecord"
    assert [task.first_index for task in tasks] == [0, 275, 550, 825]
    names = [item.name for task in tasks for item in task.items]
    assert sorted(names) == sorted(item.name for item in image_set.splits["train"])
    assert plan(0) == tasks and plan(1) != tasks


def test_the_sample_measures_what_is_written():
    image_set = _image_set(5, _jpeg(64))
    ratio, seconds = convert_sample(image_set, DecodeOptions(), 0)
    assert ratio == 1 and seconds > 0
    assert convert_sample(image_set, DecodeOptions(resize_short_side=16), 0)[0] < 0.5
    broken = dataclasses.replace(image_set, splits={"train": [Item(b"a", -1, 1, (b"?",))]})
    assert convert_sample(broken, DecodeOptions(), 0) == (1.0, 0.0)


def _group_of(item):
    return item.location[0]


def test_a_source_read_in_groups_is_mixed_within_blocks_of_shards():
    """40 shards in blocks of 4: a shard reads at most the groups of its block, each once."""
    items = [Item(b"%d" % i, -1, 0, (i // 100,)) for i in range(10_000)]
    image_set = ImageSet({"train": items}, None, "test", _read, group_of=_group_of)
    num_bytes = 40 * 128 * 2**20

    def plan(seed):
        return plan_split(
            image_set, "train", pathlib.Path("out"), DecodeOptions(), num_bytes=num_bytes, seed=seed
        )

    tasks = plan(0)
    assert len(tasks) == 40 and plan(0) == tasks and plan(1) != tasks
    assert sorted(item for task in tasks for item in task.items) == sorted(items)
    for task in tasks:
        groups = [item.location[0] for item in task.items]
        changes = sum(one != other for one, other in itertools.pairwise(groups))
        # 250 images of 10 groups: without mixing they would be of 3.
        assert 6 < len(set(groups)) == changes + 1 <= 11
    first = {item.location[0] for task in tasks[:4] for item in task.items}
    assert len(first) == 10 and max(first) - min(first) > 30

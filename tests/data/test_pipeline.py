"""The order of training is a function of (seed, epoch) and can be entered at any batch; evaluation
loses and repeats nothing.
"""

import collections
import shutil

import numpy as np
import pytest
import tensorflow as tf
from conftest import write_images

from ccssl_tf.data import image_ops
from ccssl_tf.data.manifest import Manifest, shard_name
from ccssl_tf.data.pipeline import (
    evaluation_batches,
    evaluation_images,
    training_batches,
    training_windows,
)
from ccssl_tf.runs.errors import CorruptArtifactError, InputError


def load(parsed):
    """Keeps only what tells examples apart: the order is what is tested."""
    return dict(length=tf.strings.length(parsed["encoded"]), name=parsed["filename"])


def batches(directory, split="train", batch_size=5, epoch_seed=(0, 0), **options):
    return list(
        training_batches(
            directory, split, batch_size=batch_size, epoch_seed=epoch_seed, load=load, **options
        ).as_numpy_iterator()
    )


def order(*arguments, **options):
    return [index for batch in batches(*arguments, **options) for index in batch["index"].tolist()]


@pytest.fixture(scope="module")
def uneven_dir(tmp_path_factory):
    """31 images in 7 shards of different sizes."""
    directory = tmp_path_factory.mktemp("uneven") / "data"
    write_images(directory, {"train": [3, 6, 1, 8, 4, 2, 7]})
    return directory


WINDOWS = [1, 12_000, 10**9]


@pytest.mark.parametrize("window_bytes", WINDOWS)
def test_every_example_comes_exactly_once_in_an_epoch(uneven_dir, window_bytes):
    for epoch in range(3):
        assert sorted(
            order(uneven_dir, batch_size=1, epoch_seed=(1, epoch), window_bytes=window_bytes)
        ) == list(range(31))


def test_order_is_a_function_of_seed_and_epoch(image_dir):
    orders = {
        key: order(image_dir, batch_size=16, epoch_seed=key)
        for key in [(0, 0), (0, 1), (1, 0), (1, 1), (2**31 - 1, 10**6)]
    }
    assert all(sorted(found) == list(range(48)) for found in orders.values())
    assert len(set(map(tuple, orders.values()))) == 5
    for key, found in orders.items():
        assert order(image_dir, batch_size=16, epoch_seed=key) == found
        assert order(image_dir, batch_size=4, epoch_seed=key) == found
        # Of the 48 images about one stands where it was in another epoch.
        others = [other for other in orders.values() if other != found]
        assert all(np.sum(np.array(found) == other) < 10 for other in others)


def test_a_window_of_several_shards_is_mixed(image_dir):
    for epoch in range(3):
        shards = np.array(order(image_dir, batch_size=16, epoch_seed=(0, epoch))) // 16
        # Thirds of the epoch hold about 5 of each shard's 16.
        assert np.histogram2d(np.repeat(range(3), 16), shards, 3)[0].min() >= 1
        assert np.count_nonzero(np.diff(shards)) > 15


def test_small_windows_keep_shards_apart_and_permute_them(image_dir):
    sequences = set()
    for epoch in range(12):
        shards = (
            np.array(order(image_dir, batch_size=16, epoch_seed=(0, epoch), window_bytes=1)) // 16
        )
        assert np.count_nonzero(np.diff(shards)) == 2
        sequences.add(tuple(shards[::16].tolist()))
    assert len(sequences) >= 4


@pytest.mark.parametrize("window_bytes", WINDOWS)
def test_windows_are_whole_shards_up_to_a_size(uneven_dir, window_bytes):
    manifest = Manifest.read(uneven_dir, "images")
    sizes = [shard.num_bytes for shard in manifest.shards("train")]
    windows = training_windows(manifest, "train", (3, 4), window_bytes)
    assert sorted(sum(windows, [])) == list(range(7))
    for window, following in zip(windows, [*windows[1:], None], strict=True):
        total = sum(sizes[shard] for shard in window)
        assert window and (total <= window_bytes or len(window) == 1)
        assert following is None or total + sizes[following[0]] > window_bytes


@pytest.mark.parametrize("window_bytes", WINDOWS)
@pytest.mark.parametrize("batch_size", [1, 4])
def test_first_batch_gives_the_tail_of_the_epoch(uneven_dir, window_bytes, batch_size):
    """Windows of 12,000 bytes hold one to three of these shards."""
    options = dict(batch_size=batch_size, epoch_seed=(2, 5), window_bytes=window_bytes)
    whole = batches(uneven_dir, **options)
    assert len(whole) == 31 // batch_size
    for first in range(0, len(whole) + 1, 6 if batch_size == 1 else 1):
        tail = batches(uneven_dir, first_batch=first, **options)
        assert len(tail) == len(whole) - first
        for found, expected in zip(tail, whole[first:], strict=True):
            assert found.keys() == expected.keys() == {"length", "name", "seed", "index", "label"}
            for name in found:
                np.testing.assert_array_equal(found[name], expected[name])


def test_the_end_of_an_epoch_is_an_empty_tail(image_dir):
    assert batches(image_dir, batch_size=16, first_batch=3) == []
    assert batches(image_dir, batch_size=16, first_batch=3, window_bytes=1) == []


def test_cardinality_is_known(uneven_dir):
    for first_batch in (0, 2):
        dataset = training_batches(
            uneven_dir, "train", batch_size=4, epoch_seed=(0, 0), load=load, first_batch=first_batch
        )
        assert int(dataset.cardinality()) == 7 - first_batch


def test_batches_carry_labels_and_seeds_of_their_own(image_dir):
    seen = {}
    for key in [(0, 0), (0, 1), (1, 0), (2**31 - 1, 0)]:
        for batch in batches(image_dir, batch_size=16, epoch_seed=key):
            assert batch["seed"].dtype == np.int64 and batch["seed"].shape == (16, 2)
            np.testing.assert_array_equal(batch["label"], batch["index"] % 3)
            for index, name, seed in zip(batch["index"], batch["name"], batch["seed"], strict=True):
                assert name == b"train %d-\xff\xe9.jpg" % index
                seen[key, int(index)] = tuple(seed.tolist())
    assert len(set(seen.values())) == len(seen) == 4 * 48
    evaluated = [
        tuple(seed.tolist())
        for batch in evaluation(image_dir, "train", 16)
        for seed in batch["seed"]
    ]
    assert not set(evaluated) & set(seen.values())


def test_empty_shards_do_no_harm(tmp_path):
    write_images(tmp_path / "data", {"train": [0, 3, 0, 0, 2, 0]})
    for epoch in range(6):
        for window_bytes in (1, 10**9):
            found = order(
                tmp_path / "data", batch_size=1, epoch_seed=(0, epoch), window_bytes=window_bytes
            )
            assert sorted(found) == list(range(5))


def test_fewer_images_than_a_batch_are_refused(image_dir):
    with pytest.raises(
        InputError, match="has 48 images, fewer than one batch; use --batch_size=48"
    ):
        batches(image_dir, batch_size=49)
    with pytest.raises(InputError, match="no split 'test'"):
        batches(image_dir, split="test")


def test_a_shard_that_lost_a_record_is_not_trained_on(tmp_path):
    """Cutting at a record's end leaves a valid TFRecord file, so only the manifest can tell."""
    manifest = write_images(tmp_path / "data", {"train": [4, 4]})
    path = tmp_path / "data" / shard_name("train", 1, 2)
    path.write_bytes(path.read_bytes()[: manifest.shards("train")[1].num_bytes // 2])
    for read in (
        lambda: batches(tmp_path / "data", batch_size=2),
        lambda: evaluation(tmp_path / "data", "train", 2),
    ):
        with pytest.raises(CorruptArtifactError, match="train-00001-of-00002.tfrecord"):
            read()


def evaluation(directory, split, batch_size):
    return list(
        evaluation_batches(directory, split, batch_size=batch_size, load=load).as_numpy_iterator()
    )


@pytest.mark.parametrize("batch_size", [1, 5, 31, 100])
def test_evaluation_sees_every_example_once_in_file_order(uneven_dir, batch_size):
    found = evaluation(uneven_dir, "train", batch_size)
    assert all(
        batch["index"].shape == (batch_size,) and batch["seed"].shape == (batch_size, 2)
        for batch in found
    )
    assert len(found) == -(-31 // batch_size)
    index, weight, label, name = (
        np.concatenate([batch[key] for batch in found])
        for key in ("index", "weight", "label", "name")
    )
    assert weight.dtype == np.float32
    np.testing.assert_array_equal(weight, np.arange(len(weight)) < 31)
    np.testing.assert_array_equal(index[:31], np.arange(31))
    assert collections.Counter(index[weight == 1].tolist()) == dict.fromkeys(range(31), 1)
    np.testing.assert_array_equal(label, index % 3)
    assert name.tolist() == [b"train %d-\xff\xe9.jpg" % i for i in index]


def test_evaluation_seeds_do_not_depend_on_the_batch_size(uneven_dir):
    first, second = (
        np.concatenate([batch["seed"] for batch in evaluation(uneven_dir, "train", size)])[:31]
        for size in (4, 31)
    )
    np.testing.assert_array_equal(first, second)
    assert len(np.unique(first, axis=0)) == 31


def test_evaluation_of_nothing_is_refused(tmp_path):
    write_images(tmp_path / "data", {"val": [0]})
    with pytest.raises(InputError, match="split val is empty"):
        evaluation(tmp_path / "data", "val", 2)


def images(directory, batch_size, **options):
    return list(
        evaluation_images(
            directory, "train", image_size=24, batch_size=batch_size, **options
        ).as_numpy_iterator()
    )


def test_images_in_file_order_with_a_partial_last_batch(uneven_dir):
    found = images(uneven_dir, 8)
    assert [len(batch["index"]) for batch in found] == [8, 8, 8, 7]
    assert found[0].keys() == {"image", "index", "label", "filename"}
    assert [index for batch in found for index in batch["index"]] == list(range(31))
    assert found[3]["image"].shape == (7, 24, 24, 3) and found[3]["image"].dtype == np.uint8
    assert found[0]["filename"][1] == b"train 1-\xff\xe9.jpg"
    record = next(
        tf.data.TFRecordDataset(str(uneven_dir / shard_name("train", 1, 7))).as_numpy_iterator()
    )
    encoded = (
        tf.train.Example.FromString(record).features.feature["image/encoded"].bytes_list.value[0]
    )
    np.testing.assert_array_equal(found[0]["image"][3], image_ops.whole_image(encoded, 24))


def test_images_of_chosen_shards(uneven_dir):
    starts = np.cumsum([0, 3, 6, 1, 8, 4, 2, 7])
    for shards in ([1], [5, 2], [6, 0, 3], []):
        expected = [index for shard in shards for index in range(starts[shard], starts[shard + 1])]
        assert [
            index for batch in images(uneven_dir, 4, shards=shards) for index in batch["index"]
        ] == expected


@pytest.mark.parametrize("batch_size", [1, 3, 4, 100])
def test_batches_of_chosen_shards_hold_images_of_one(uneven_dir, batch_size):
    starts = np.cumsum([0, 3, 6, 1, 8, 4, 2, 7])
    expected = [
        list(range(first, min(first + batch_size, starts[shard + 1])))
        for shard in (5, 0, 2, 3)
        for first in range(starts[shard], starts[shard + 1], batch_size)
    ]
    found = images(uneven_dir, batch_size, shards=[5, 0, 2, 3])
    assert [batch["index"].tolist() for batch in found] == expected
    whole = {
        index: image
        for batch in images(uneven_dir, 8)
        for index, image in zip(batch["index"], batch["image"], strict=True)
    }
    for batch in found:
        np.testing.assert_array_equal(batch["image"], [whole[index] for index in batch["index"]])


@pytest.mark.parametrize("batch_size", [2, 4])
@pytest.mark.parametrize("records_kept", [7, 9])
def test_a_chosen_shard_with_fewer_or_more_records_than_its_manifest_says_is_refused(
    uneven_dir, tmp_path, batch_size, records_kept
):
    shutil.copytree(uneven_dir, tmp_path / "copy")
    path = tmp_path / "copy" / shard_name("train", 3, 7)
    records_there = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number in range(records_kept):
            writer.write(records_there[number % 8])
    with pytest.raises((tf.errors.FailedPreconditionError, CorruptArtifactError)):
        images(tmp_path / "copy", batch_size, shards=[2, 3, 4])


def seeds_of(found):
    return [tuple(seed) for batch in found for seed in batch["seed"].tolist()]


@pytest.mark.parametrize("window_bytes", WINDOWS)
def test_copies_of_images_come_as_often_as_asked_and_each_is_its_own(uneven_dir, window_bytes):
    copies = (np.arange(31) * 7 % 5).astype(np.int32)
    options = dict(batch_size=1, epoch_seed=(1, 2), window_bytes=window_bytes, copies=copies)
    found = batches(uneven_dir, **options)
    assert (
        len(found)
        == copies.sum()
        == int(training_batches(uneven_dir, "train", load=load, **options).cardinality())
    )
    indices = [int(batch["index"][0]) for batch in found]
    np.testing.assert_array_equal(np.bincount(indices, minlength=31), copies)
    assert all(
        batch["name"][0].startswith(b"train %d-" % index)
        for batch, index in zip(found, indices, strict=True)
    )
    assert len(set(seeds_of(found))) == len(found)
    first = {seed for seed in seeds_of(found) if seed[1] < 2**32}
    assert first < set(seeds_of(batches(uneven_dir, batch_size=1, epoch_seed=(1, 2)))), (
        "the first copy is seen as without copies"
    )
    if window_bytes == 10**9:
        assert np.count_nonzero(np.diff(indices)) > len(indices) / 2, (
            "copies are spread over the window"
        )


@pytest.mark.parametrize("window_bytes", WINDOWS)
def test_first_batch_skips_copies_without_reading_them(uneven_dir, window_bytes):
    copies = np.array([0] * 9 + [3] * 10 + [1] * 12, np.int32)
    options = dict(batch_size=4, epoch_seed=(2, 5), window_bytes=window_bytes, copies=copies)
    whole = batches(uneven_dir, **options)
    assert len(whole) == 10
    for first in range(11):
        tail = batches(uneven_dir, first_batch=first, **options)
        assert seeds_of(tail) == seeds_of(whole[first:])


def test_one_copy_each_is_the_order_without_copies(uneven_dir):
    one_each = batches(uneven_dir, epoch_seed=(4, 4), copies=np.ones(31, np.int32))
    assert seeds_of(one_each) == seeds_of(batches(uneven_dir, epoch_seed=(4, 4)))


def test_fewer_copies_than_a_batch_are_refused(uneven_dir):
    with pytest.raises(InputError, match="has 3 images, fewer than one batch"):
        batches(uneven_dir, copies=np.array([3] + [0] * 30, np.int32))

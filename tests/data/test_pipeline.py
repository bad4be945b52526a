"""The order of training is a function of (seed, epoch) and can be entered at any batch; evaluation
loses and repeats nothing.
"""

import collections

import numpy as np
import pytest
import tensorflow as tf
from conftest import write_images

from ccssl_tf.data import pipeline
from ccssl_tf.data.manifest import Manifest, shard_name
from ccssl_tf.data.pipeline import Epoch, evaluation_batches, training_batches, training_windows
from ccssl_tf.runs.errors import CorruptArtifactError, InputError

FIRST = Epoch(5)


def load(parsed):
    """Keeps only what tells examples apart: the order is what is tested."""
    return dict(length=tf.strings.length(parsed["encoded"]), name=parsed["filename"])


def batches(directory, epoch=FIRST, split="train", **options):
    dataset = training_batches(directory, split, epoch, load=load, **options)
    return list(dataset.as_numpy_iterator())


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
        assert sorted(order(uneven_dir, Epoch(1, 1, epoch), window_bytes=window_bytes)) == list(
            range(31)
        )


def test_order_is_a_function_of_seed_and_epoch(image_dir):
    orders = {
        key: order(image_dir, Epoch(16, *key))
        for key in [(0, 0), (0, 1), (1, 0), (1, 1), (2**31 - 1, 10**6)]
    }
    assert all(sorted(found) == list(range(48)) for found in orders.values())
    assert len(set(map(tuple, orders.values()))) == 5
    for key, found in orders.items():
        assert order(image_dir, Epoch(16, *key)) == found
        assert order(image_dir, Epoch(4, *key)) == found
        # Of the 48 images about one stands where it was in another epoch.
        others = [other for other in orders.values() if other != found]
        assert all(np.sum(np.array(found) == other) < 10 for other in others)


def test_a_window_of_several_shards_is_mixed(image_dir):
    for epoch in range(3):
        shards = np.array(order(image_dir, Epoch(16, 0, epoch))) // 16
        # Thirds of the epoch hold about 5 of each shard's 16.
        assert np.histogram2d(np.repeat(range(3), 16), shards, 3)[0].min() >= 1
        assert np.count_nonzero(np.diff(shards)) > 15


def test_small_windows_keep_shards_apart_and_permute_them(image_dir):
    sequences = set()
    for epoch in range(12):
        shards = np.array(order(image_dir, Epoch(16, 0, epoch), window_bytes=1)) // 16
        assert np.count_nonzero(np.diff(shards)) == 2
        sequences.add(tuple(shards[::16].tolist()))
    assert len(sequences) >= 4


@pytest.mark.parametrize("window_bytes", WINDOWS)
def test_windows_are_whole_shards_up_to_a_size(uneven_dir, window_bytes):
    manifest = Manifest.read(uneven_dir, "images")
    sizes = [shard.num_bytes for shard in manifest.shards("train")]
    windows = training_windows(manifest, "train", Epoch(1, 3, 4), window_bytes)
    assert sorted(sum(windows, [])) == list(range(7))
    for window, following in zip(windows, [*windows[1:], None], strict=True):
        total = sum(sizes[shard] for shard in window)
        assert window and (total <= window_bytes or len(window) == 1)
        assert following is None or total + sizes[following[0]] > window_bytes


@pytest.mark.parametrize("window_bytes", WINDOWS)
@pytest.mark.parametrize("batch_size", [1, 4])
def test_first_batch_gives_the_tail_of_the_epoch(uneven_dir, window_bytes, batch_size):
    """Windows of 12,000 bytes hold one to three of these shards."""
    whole = batches(uneven_dir, Epoch(batch_size, 2, 5), window_bytes=window_bytes)
    assert len(whole) == 31 // batch_size
    for first in range(0, len(whole) + 1, 6 if batch_size == 1 else 1):
        tail = batches(uneven_dir, Epoch(batch_size, 2, 5, first), window_bytes=window_bytes)
        assert len(tail) == len(whole) - first
        for found, expected in zip(tail, whole[first:], strict=True):
            assert found.keys() == expected.keys() == {"length", "name", "seed", "index", "label"}
            for name in found:
                np.testing.assert_array_equal(found[name], expected[name])


def test_the_end_of_an_epoch_is_an_empty_tail(image_dir):
    for window_bytes in WINDOWS:
        assert batches(image_dir, Epoch(16, first_batch=3), window_bytes=window_bytes) == []


def test_cardinality_is_known(uneven_dir):
    for first_batch in (0, 2):
        epoch = Epoch(4, first_batch=first_batch)
        dataset = training_batches(uneven_dir, "train", epoch, load=load)
        assert int(dataset.cardinality()) == 7 - first_batch


def test_batches_carry_labels_and_seeds_of_their_own(image_dir):
    seen = {}
    for key in [(0, 0), (0, 1), (1, 0), (2**31 - 1, 0)]:
        for batch in batches(image_dir, Epoch(16, *key)):
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
            found = order(tmp_path / "data", Epoch(1, 0, epoch), window_bytes=window_bytes)
            assert sorted(found) == list(range(5))


def test_fewer_images_than_a_batch_are_refused(image_dir):
    with pytest.raises(
        InputError, match="has 48 images, fewer than one batch; use --batch_size=48"
    ):
        batches(image_dir, Epoch(49))
    with pytest.raises(InputError, match="no split 'test'"):
        batches(image_dir, split="test")


def test_a_shard_that_lost_a_record_is_not_trained_on(tmp_path):
    """Cutting at a record's end leaves a valid TFRecord file, so only the manifest can tell."""
    manifest = write_images(tmp_path / "data", {"train": [4, 4]})
    path = tmp_path / "data" / shard_name("train", 1, 2)
    path.write_bytes(path.read_bytes()[: manifest.shards("train")[1].num_bytes // 2])
    for read in (
        lambda: batches(tmp_path / "data", Epoch(2)),
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


def seeds_of(found):
    return [tuple(seed) for batch in found for seed in batch["seed"].tolist()]


@pytest.mark.parametrize("window_bytes", WINDOWS)
def test_copies_of_images_come_as_often_as_asked_and_each_is_its_own(uneven_dir, window_bytes):
    copies = (np.arange(31) * 7 % 5).astype(np.int32)
    epoch, options = Epoch(1, 1, 2), dict(window_bytes=window_bytes, copies=copies)
    found = batches(uneven_dir, epoch, **options)
    dataset = training_batches(uneven_dir, "train", epoch, load=load, **options)
    assert len(found) == copies.sum() == int(dataset.cardinality())
    indices = [int(batch["index"][0]) for batch in found]
    np.testing.assert_array_equal(np.bincount(indices, minlength=31), copies)
    assert all(
        batch["name"][0].startswith(b"train %d-" % index)
        for batch, index in zip(found, indices, strict=True)
    )
    assert len(set(seeds_of(found))) == len(found)
    first = {seed for seed in seeds_of(found) if seed[1] < 2**32}
    assert first < set(seeds_of(batches(uneven_dir, epoch))), (
        "the first copy is seen as without copies"
    )
    if window_bytes == 10**9:
        assert np.count_nonzero(np.diff(indices)) > len(indices) / 2, (
            "copies are spread over the window"
        )


@pytest.mark.parametrize("window_bytes", WINDOWS)
def test_first_batch_skips_copies_without_reading_them(uneven_dir, window_bytes):
    copies = np.array([0] * 9 + [3] * 10 + [1] * 12, np.int32)
    options = dict(window_bytes=window_bytes, copies=copies)
    whole = batches(uneven_dir, Epoch(4, 2, 5), **options)
    assert len(whole) == 10
    for first in range(11):
        tail = batches(uneven_dir, Epoch(4, 2, 5, first), **options)
        assert seeds_of(tail) == seeds_of(whole[first:])


def test_one_copy_each_is_the_order_without_copies(uneven_dir):
    one_each = batches(uneven_dir, Epoch(5, 4, 4), copies=np.ones(31, np.int32))
    assert seeds_of(one_each) == seeds_of(batches(uneven_dir, Epoch(5, 4, 4)))


def test_fewer_copies_than_a_batch_are_refused(uneven_dir):
    with pytest.raises(InputError, match="has 3 images, fewer than one batch"):
        batches(uneven_dir, copies=np.array([3] + [0] * 30, np.int32))


def test_batches_are_those_of_training_or_of_evaluation_as_the_epoch_says(uneven_dir):
    def seen(epoch, **options):
        dataset = pipeline.batches(uneven_dir, "train", epoch, load=load, **options)
        return list(dataset.as_numpy_iterator())

    copies = np.full(31, 2, np.int32)
    training = seen(Epoch(4, 1, 2, 3), copies=copies)
    assert seeds_of(training) == seeds_of(batches(uneven_dir, Epoch(4, 1, 2, 3), copies=copies))
    assert "weight" not in training[0]
    # Of evaluation there is one order, of every image once.
    for epoch in (Epoch(4, training=False), Epoch(4, 1, 2, 3, training=False)):
        found = seen(epoch, copies=copies)
        assert seeds_of(found) == seeds_of(evaluation(uneven_dir, "train", 4))
        assert sum(batch["weight"].sum() for batch in found) == 31


@pytest.mark.parametrize("training", [True, False])
def test_tensors_of_other_lengths_are_continued_by_the_padding(uneven_dir, training):
    def ragged(parsed):
        return dict(
            row=tf.range(parsed["index"] % 3), label_row=tf.fill([parsed["index"] % 2], 7.0)
        )

    epoch, padding = Epoch(5, training=training), dict(row=-1)
    dataset = pipeline.batches(uneven_dir, "train", epoch, load=ragged, padding=padding)
    for batch in dataset.as_numpy_iterator():
        longest = max(index % 3 for index in batch["index"])
        expected = [[*range(i % 3), *[-1] * (longest - i % 3)] for i in batch["index"]]
        np.testing.assert_array_equal(batch["row"], np.reshape(expected, [5, longest]))
        assert batch["label_row"].sum() == 7.0 * sum(i % 2 for i in batch["index"])


def test_other_records_are_read_by_their_own_parser(uneven_dir):
    def parse(serialized):
        return dict(pipeline.records.parse_image(serialized), twice=2)

    for training in (True, False):
        dataset = pipeline.batches(
            uneven_dir,
            "train",
            Epoch(5, training=training),
            load=lambda parsed: dict(value=parsed["index"] * parsed["twice"]),
            parse=parse,
        )
        for batch in dataset.as_numpy_iterator():
            np.testing.assert_array_equal(batch["value"], batch["index"] * 2)

import numpy as np
import pytest
import tensorflow as tf
from clustering.test_kmeans import blobs

from ccssl_tf.clustering import KMeans, sources
from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.data import records
from ccssl_tf.errors import CorruptArtifactError, InputError


def write_features(directory, rows, shard_sizes, dtype="float32", block=64):
    directory.mkdir()
    shards, start = [], 0
    for number, size in enumerate(shard_sizes):
        own = rows[start : start + size].astype(dtype)
        index = np.arange(start, start + size)
        examples = [records.feature_example(index[at : at + block], own[at : at + block]) for at in range(0, size, block)]
        name = manifest_lib.shard_name("train", number, len(shard_sizes))
        shards.append(records.write_shard(directory / name, examples, num_examples=size))
        start += size
    manifest_lib.Manifest("features", {"train": shards}, dict(dim=rows.shape[1], dtype=dtype)).write(directory)
    return directory


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("memory_gb", [4.0, 1e-4])
def test_shards_streamed_or_kept_equal_the_array(tmp_path, dtype, memory_gb):
    # 20,000 rows: several chunks, whose borders are not those of the shards.
    rows = blobs(20_000, 6, 9, seed=2).astype(dtype)
    directory = write_features(tmp_path / "features", rows, [9000, 1, 10_000, 999], dtype)
    start = rows[:9].astype(np.float32)
    passes = []
    from_shards = KMeans(9, initialization=start, max_iterations=4, memory_gb=memory_gb).fit(directory, on_pass=passes.append)
    from_array = KMeans(9, initialization=start, max_iterations=4).fit(rows)
    np.testing.assert_array_equal(from_shards.centroids, from_array.centroids)
    assert from_shards.inertia == from_array.inertia
    np.testing.assert_array_equal(from_shards.predict(directory), from_array.predict(rows))
    assert (passes[-1]["gb_read"] > 0) == (memory_gb < 1)
    batches = tf.data.Dataset.from_tensor_slices(rows).batch(333)
    from_dataset = KMeans(9, initialization=start, max_iterations=4, memory_gb=memory_gb).fit(batches)
    np.testing.assert_array_equal(from_dataset.centroids, from_array.centroids)


def test_the_sampled_start_is_the_same_from_shards_and_array(tmp_path):
    rows = blobs(30_000, 4, 30, seed=3)
    directory = write_features(tmp_path / "features", rows, [10_000, 12_345, 7_655])
    for how in ("k-means++", "random"):
        settings = dict(initialization=how, max_iterations=1, seed=5, memory_gb=1e-4)
        np.testing.assert_array_equal(KMeans(30, **settings).fit(directory).centroids, KMeans(30, **settings).fit(rows).centroids)


def test_an_empty_or_uneven_dataset_is_refused():
    with pytest.raises(InputError, match="empty"):
        KMeans(1).fit(tf.data.Dataset.from_tensor_slices(np.ones([3, 2])).batch(2).take(0))
    with pytest.raises(InputError, match="tf.data of"):
        KMeans(1).fit(tf.data.Dataset.from_tensor_slices((np.ones([3, 2]), np.ones([3]))).batch(2))


@pytest.mark.parametrize("how", ["k-means++", "array"])
def test_a_nan_in_a_shard_is_named(tmp_path, how):
    rows = blobs(300, 4, 3, seed=8)
    rows[250, 2] = np.nan
    directory = write_features(tmp_path / "features", rows, [100, 120, 80])
    start = rows[:3] if how == "array" else how
    with pytest.raises(CorruptArtifactError, match="00002-of-00003.tfrecord: row 30 "):
        KMeans(3, initialization=start).fit(directory)


@pytest.mark.parametrize("damage", ["bit", "truncated at a record", "truncated", "other dimension"])
def test_a_damaged_shard_is_named(tmp_path, damage):
    rows = blobs(300, 4, 3, seed=8)
    directory = write_features(tmp_path / "features", rows, [100, 120, 80], block=20)
    path = directory / "train-00001-of-00003.tfrecord"
    data = bytearray(path.read_bytes())
    if damage == "bit":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif damage == "other dimension":
        examples = [records.feature_example(np.arange(20), np.ones([20, 3], np.float32))] * 6
        records.write_shard(path, examples)
    else:
        path.write_bytes(data[: len(data) // 6 * 4 + (7 if damage == "truncated" else 0)])
    # The size still fits the manifest: only the content tells.
    paths = sorted(directory.glob("*.tfrecord"))
    shards = [manifest_lib.Shard(at.name, count, at.stat().st_size, "") for at, count in zip(paths, [100, 120, 80], strict=True)]
    manifest_lib.Manifest("features", {"train": shards}, dict(dim=4, dtype="float32")).write(directory)
    with pytest.raises(CorruptArtifactError, match="train-00001-of-00003.tfrecord"):
        KMeans(3).fit(directory)


def test_single_rows_come_from_the_shards_that_hold_them(tmp_path):
    rows = blobs(500, 3, 2, seed=0)
    source = sources.DirectorySource(write_features(tmp_path / "features", rows, [100, 1, 250, 149]))
    for positions in ([0], [499], [100], [99, 100, 101], [3, 150, 350, 351, 498], range(500)):
        reader = sources.ChunkReader(source, 64, 0)
        np.testing.assert_array_equal(reader.take(np.array(positions)), rows[list(positions)])
    np.testing.assert_array_equal(source.indices(), np.arange(500))

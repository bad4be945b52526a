import numpy as np
import pytest
import tensorflow as tf
from clustering.test_kmeans import blobs

from ccssl_tf.clustering import KMeans, sources, windows
from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.data import records
from ccssl_tf.runs.errors import InputError


def write_features(directory, rows, shard_sizes, dtype="float32", block=64):
    directory.mkdir()
    shards, start = [], 0
    for number, size in enumerate(shard_sizes):
        own = rows[start : start + size].astype(dtype)
        index = np.arange(start, start + size)
        examples = [
            records.feature_example(index[at : at + block], own[at : at + block])
            for at in range(0, size, block)
        ]
        name = manifest_lib.shard_name("train", number, len(shard_sizes))
        shards.append(records.write_shard(directory / name, examples, num_examples=size))
        start += size
    manifest_lib.Manifest(
        "features", {"train": shards}, dict(dim=rows.shape[1], dtype=dtype)
    ).write(directory)
    return directory


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("memory_gb", [4.0, 1e-4])
def test_shards_streamed_or_kept_equal_the_array(tmp_path, dtype, memory_gb):
    # 20,000 rows: several chunks, whose borders are not those of the shards.
    rows = blobs(20_000, 6, 9, seed=2).astype(dtype)
    directory = write_features(tmp_path / "features", rows, [9000, 1, 10_000, 999], dtype)
    start = rows[:9].astype(np.float32)
    passes = []
    from_shards = KMeans(9, initialization=start, max_iterations=4, memory_gb=memory_gb).fit(
        directory, on_pass=passes.append
    )
    from_array = KMeans(9, initialization=start, max_iterations=4).fit(rows)
    np.testing.assert_array_equal(from_shards.centroids, from_array.centroids)
    assert from_shards.inertia == from_array.inertia
    np.testing.assert_array_equal(from_shards.predict(directory), from_array.predict(rows))
    assert (passes[-1]["gb_read"] > 0) == (memory_gb < 1)
    batches = tf.data.Dataset.from_tensor_slices(rows).batch(333)
    from_dataset = KMeans(9, initialization=start, max_iterations=4, memory_gb=memory_gb).fit(
        batches
    )
    np.testing.assert_array_equal(from_dataset.centroids, from_array.centroids)


@pytest.mark.parametrize(
    "stored, memory, kept",
    [("float16", 4, "float32"), ("float16", 3, "float16"), ("float32", 5, "float32")],
)
def test_kept_rows_are_float32_where_that_fits(tmp_path, stored, memory, kept):
    rows = blobs(1000, 60, 9, seed=2).astype(stored)
    source = sources.open_source(write_features(tmp_path / "features", rows, [400, 600], stored), 0)
    reader = sources.ChunkReader(source, 256, memory * rows.size)
    assert reader.keeps and {chunk.dtype.name for _, chunk in reader} == {stored}
    assert {chunk.dtype.name for _, chunk in reader} == {kept} and reader.bytes_read == 0
    np.testing.assert_array_equal(np.concatenate([chunk for _, chunk in reader]), rows)
    np.testing.assert_array_equal(reader.take(np.arange(1000)), rows)
    ((_, window),) = windows.Windows(source, memory * rows.size).from_row(0)
    assert window.dtype == kept
    np.testing.assert_array_equal(window, rows)


def test_the_sampled_start_is_the_same_from_shards_and_array(tmp_path):
    rows = blobs(30_000, 4, 30, seed=3)
    directory = write_features(tmp_path / "features", rows, [10_000, 12_345, 7_655])
    for how in ("k-means++", "random"):
        settings = dict(initialization=how, max_iterations=1, seed=5, memory_gb=1e-4)
        np.testing.assert_array_equal(
            KMeans(30, **settings).fit(directory).centroids,
            KMeans(30, **settings).fit(rows).centroids,
        )


def test_an_empty_or_uneven_dataset_is_refused():
    with pytest.raises(InputError, match="empty"):
        KMeans(1).fit(tf.data.Dataset.from_tensor_slices(np.ones([3, 2])).batch(2).take(0))
    with pytest.raises(InputError, match="tf.data of"):
        KMeans(1).fit(tf.data.Dataset.from_tensor_slices((np.ones([3, 2]), np.ones([3]))).batch(2))

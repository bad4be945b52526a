import numpy as np
import pytest
import scipy.sparse
import tensorflow as tf
from clustering.test_kmeans import blobs

from ccssl_tf.clustering import KMeans
from ccssl_tf.clustering.rows import sources
from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.data import records
from ccssl_tf.data.feature_source import FeatureSource
from ccssl_tf.runs.errors import CcsslError, InputError


def write_features(directory, rows, shard_sizes, dtype="float32", block=64):
    directory.mkdir()
    shards, start = [], 0
    for number, size in enumerate(shard_sizes):
        part = rows[start : start + size].astype(dtype)
        index = np.arange(start, start + size)
        examples = [
            records.feature_example(index[at : at + block], part[at : at + block])
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


def test_features_of_every_kind_become_sources(tmp_path):
    rows = blobs(500, 3, 2, seed=0)
    directory = write_features(tmp_path / "features", rows, [100, 400])
    dataset = tf.data.Dataset.from_tensor_slices(rows).batch(77)
    opened = {
        "array": (sources.open_source(rows, 0), sources.ArraySource),
        "list": (sources.open_source(rows.tolist(), 0), sources.ArraySource),
        "directory": (sources.open_source(directory, 0), sources.DirectorySource),
        "path in a string": (sources.open_source(str(directory), 0), sources.DirectorySource),
        "small tf.data": (sources.open_source(dataset, rows.nbytes), sources.ArraySource),
        "large tf.data": (sources.open_source(dataset, rows.nbytes - 1), sources.DatasetSource),
    }
    for name, (source, kind) in opened.items():
        assert type(source) is kind and isinstance(source, FeatureSource), name
        assert sources.open_source(source, 0) is source
        assert (source.num_examples, source.dim) == rows.shape
        chunks = list(source.chunks(64))
        assert [len(chunk) for chunk in chunks] == [64] * 7 + [52]
        np.testing.assert_allclose(np.concatenate(chunks), rows)
        assert chunks[0].dtype == source.dtype
        assert source.bytes_per_pass == (0 if source.in_memory else source.num_bytes)
        assert source.fingerprint() == sources.open_source(source, 0).fingerprint()


def test_an_object_that_only_looks_like_a_source_is_none():
    class Similar:
        blocks_holding = chunks = None

    with pytest.raises(InputError, match="expected an array of numbers"):
        sources.open_source(Similar(), 0)


def test_an_endless_dataset_is_refused_at_once():
    rows = tf.data.Dataset.from_tensors(np.eye(3, dtype=np.float32)).repeat()
    with pytest.raises(InputError, match="endless"):
        KMeans(2).fit(rows)


@pytest.mark.parametrize("algorithm", ["lloyd", "lloyd_plain", "minibatch"])
def test_a_dataset_that_changes_its_order_is_refused(algorithm):
    rows = blobs(400, 4, 5, seed=0)
    shuffled = tf.data.Dataset.from_tensor_slices(rows).shuffle(400, seed=1).batch(50)
    with pytest.raises(InputError, match=r"row \d+ of the tf.data is not what it was"):
        KMeans(5, algorithm=algorithm, memory_gb=0.0).fit(shuffled)
    once = tf.data.Dataset.from_tensor_slices(rows).shuffle(
        400, seed=1, reshuffle_each_iteration=False
    )
    KMeans(5, algorithm=algorithm, memory_gb=0.0, max_iterations=2).fit(once.batch(50))


def test_an_npy_file_is_read_like_its_array(tmp_path):
    rows = blobs(300, 4, 3, seed=8)
    np.save(tmp_path / "rows.npy", rows)
    kmeans = KMeans(3, seed=0).fit(str(tmp_path / "rows.npy"))
    np.testing.assert_array_equal(kmeans.labels_, KMeans(3, seed=0).fit(rows).labels_)
    np.testing.assert_array_equal(kmeans.predict(tmp_path / "rows.npy"), kmeans.labels_)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "rows.npy: no such file"),
        (b"junk" * 9, "rows.npy: damaged, or not an array saved by numpy.save"),
    ],
)
def test_an_npy_file_that_is_none_is_named(tmp_path, content, message):
    path = tmp_path / "rows.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(CcsslError, match=message):
        KMeans(3).fit(path)


def test_a_sparse_matrix_is_refused_in_words():
    with pytest.raises(InputError, match="a sparse matrix .5, 3., .* give X.toarray"):
        KMeans(3).fit(scipy.sparse.csr_matrix(np.eye(5, 3)))

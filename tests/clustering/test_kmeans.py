import numpy as np
import pytest
import tensorflow as tf
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.cluster import kmeans_plusplus

from ccssl_tf.clustering import KMeans, initialization
from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.data import records
from ccssl_tf.errors import CorruptArtifactError, InputError, Interrupted


def blobs(count, dim, clusters, seed, spread=0.3):
    generator = np.random.default_rng(seed)
    centers = generator.normal(size=(clusters, dim))
    return (centers[generator.integers(clusters, size=count)] + spread * generator.normal(size=(count, dim))).astype(np.float32)


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


@pytest.mark.parametrize("seed", range(8))
def test_equals_scikit_learn_from_the_same_start(seed):
    generator = np.random.default_rng(seed)
    count, dim, clusters = int(generator.integers(20, 600)), int(generator.integers(1, 40)), int(generator.integers(1, 15))
    rows = blobs(count, dim, clusters, seed)
    start = rows[generator.choice(count, clusters, replace=False)]
    ours = KMeans(clusters, initialization=start).fit(rows)
    theirs = SklearnKMeans(clusters, init=start, n_init=1, tol=0, algorithm="lloyd").fit(rows.astype(np.float64))
    np.testing.assert_allclose(ours.inertia, theirs.inertia_, rtol=1e-4)
    np.testing.assert_allclose(ours.centroids, theirs.cluster_centers_, atol=1e-3)
    assert np.mean(ours.predict(rows) == theirs.labels_) > 0.99
    assert abs(ours.iterations + 1 - theirs.n_iter_) <= 2
    assert ours.cluster_sizes.sum() == count


def test_stops_at_max_iterations_and_reports_the_inertia_of_its_centroids():
    rows = blobs(500, 5, 20, seed=0, spread=1.0)
    start = rows[:20]
    ours = KMeans(20, initialization=start, max_iterations=3).fit(rows)
    theirs = SklearnKMeans(20, init=start, n_init=1, max_iter=3, tol=0, algorithm="lloyd").fit(rows)
    assert ours.iterations == theirs.n_iter_ == 3
    np.testing.assert_allclose(ours.inertia, theirs.inertia_, rtol=1e-5)
    np.testing.assert_allclose(ours.inertia, np.sum(ours.distances(rows).astype(np.float64) ** 2), rtol=1e-5)
    early = KMeans(20, initialization=start, tolerance=0.05).fit(rows)
    assert early.iterations < KMeans(20, initialization=start).fit(rows).iterations


def test_distances_are_euclidean_even_far_from_the_origin():
    rows = blobs(300, 8, 5, seed=1) + 1000.0
    kmeans = KMeans(5).fit(rows)
    exact = np.linalg.norm(rows[:, None].astype(np.float64) - kmeans.centroids[None], axis=-1)
    np.testing.assert_array_equal(kmeans.predict(rows), exact.argmin(axis=1))
    np.testing.assert_allclose(kmeans.distances(rows), exact.min(axis=1), rtol=1e-4)
    assert kmeans.predict(rows).dtype == np.int32 and kmeans.centroids.dtype == np.float32


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


def test_one_seed_one_result_and_another_seed_another():
    rows = blobs(2000, 10, 8, seed=4, spread=2.0)
    first, again, other = (KMeans(20, seed=seed, max_iterations=5).fit(rows).centroids for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_greedy_plus_plus_is_as_good_as_scikit_learn():
    rows = blobs(3000, 16, 50, seed=5, spread=0.5)

    def potential(centers):
        return np.min(((rows[:, None] - centers[None]) ** 2).sum(-1), axis=1).sum()

    ours = np.mean([potential(initialization.kmeans_plus_plus(rows, 50, seed)) for seed in range(5)])
    theirs = np.mean([potential(kmeans_plusplus(rows, 50, random_state=seed)[0]) for seed in range(5)])
    assert ours < 1.1 * theirs


def test_fewer_different_rows_than_clusters(capsys):
    different = np.random.default_rng(6).normal(size=(5, 7)).astype(np.float32)
    rows = np.tile(different, [40, 1])
    for how in ("k-means++", "random"):
        kmeans = KMeans(10, initialization=how).fit(rows)
        assert np.isfinite(kmeans.centroids).all()
        assert kmeans.inertia == 0 and kmeans.empty_clusters == 5 == np.sum(kmeans.cluster_sizes == 0)
        assert "warning: 5 of 10 clusters are empty" in capsys.readouterr().out
        assert len(np.unique(kmeans.predict(rows))) == 5


def test_empty_clusters_take_the_furthest_rows():
    rows = np.array([[0.0], [1.0], [2.0], [100.0], [101.0]], np.float32)
    # Nothing is nearest to the third and fourth centroid.
    kmeans = KMeans(4, initialization=[[1.0], [2.0], [-500.0], [-600.0]], max_iterations=20).fit(rows)
    assert kmeans.empty_clusters == 0
    assert sorted(kmeans.cluster_sizes.tolist()) == [1, 1, 1, 2]
    assert kmeans.inertia == 0.5


@pytest.mark.parametrize("clusters", [1, 12])
def test_one_cluster_and_as_many_as_rows(clusters):
    rows = np.random.default_rng(7).normal(size=(12, 3)).astype(np.float32)
    kmeans = KMeans(clusters).fit(rows)
    if clusters == 1:
        np.testing.assert_allclose(kmeans.centroids[0], rows.mean(axis=0), rtol=1e-5)
    else:
        assert kmeans.inertia == 0 and sorted(kmeans.predict(rows)) == list(range(12))


@pytest.mark.parametrize(
    "settings, rows, message",
    [
        (dict(num_clusters=0), np.ones([3, 2]), "num_clusters=0"),
        (dict(num_clusters=4), np.ones([3, 2]), "more clusters than the 3 rows"),
        (dict(num_clusters=1), np.ones([0, 2]), "nothing to cluster"),
        (dict(num_clusters=1), np.ones([3]), r"\[N, D\]"),
        (dict(num_clusters=1, algorithm="fast"), np.ones([3, 2]), "fast"),
        (dict(num_clusters=1, initialization="best"), np.ones([3, 2]), "best"),
        (dict(num_clusters=2, initialization=np.ones([2, 3])), np.ones([3, 2]), r"\[2, 3\]"),
        (dict(num_clusters=2, initialization=np.full([2, 2], np.nan)), np.ones([3, 2]), "NaN"),
        (dict(num_clusters=1, max_iterations=0), np.ones([3, 2]), "max_iterations"),
        (dict(num_clusters=2), np.array([[1.0, 2], [np.inf, 0], [1, 1]]), "row 1 "),
        (dict(num_clusters=2, initialization=np.eye(2)), np.array([[1.0, 2], [2, 0], [1, np.nan]]), "row 2 "),
    ],
)
def test_refuses(settings, rows, message):
    with pytest.raises(InputError, match=message):
        KMeans(**settings).fit(rows)


def test_predict_needs_a_fit_and_the_same_dimension():
    with pytest.raises(InputError, match="fit first"):
        KMeans(2).predict(np.ones([3, 2]))
    with pytest.raises(InputError, match="dimension 3"):
        KMeans(2).fit(np.eye(4)).predict(np.eye(3))


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


@pytest.mark.parametrize("stop_after", [1, 2, 4])
def test_a_stopped_fit_continues_to_the_same_bits(tmp_path, stop_after):
    rows = blobs(20_000, 8, 30, seed=9, spread=1.5)
    # The start has empty clusters, so that re-seeding is continued too.
    start = np.concatenate([rows[:20], np.full([10, 8], 99, np.float32)])
    whole = KMeans(30, initialization=start, max_iterations=8).fit(rows)
    passes = []

    def stop(values):
        passes.append(values)
        if len(passes) == stop_after:
            raise KeyboardInterrupt

    path = tmp_path / "checkpoint.npz"
    with pytest.raises(KeyboardInterrupt):
        KMeans(30, initialization=start, max_iterations=8).fit(rows, checkpoint_path=path, on_pass=stop)
    later = []
    resumed = KMeans(30, initialization=start, max_iterations=8).fit(rows, checkpoint_path=path, on_pass=later.append)
    assert later[0]["iteration"] == passes[-1]["iteration"]
    np.testing.assert_array_equal(resumed.centroids, whole.centroids)
    assert (resumed.inertia, resumed.iterations) == (whole.inertia, whole.iterations)


def test_a_stop_inside_a_pass_interrupts(tmp_path):
    rows = blobs(20_000, 4, 3, seed=9)
    asked = []

    def should_stop():
        asked.append(1)
        return len(asked) > 4

    with pytest.raises(Interrupted):
        KMeans(3, initialization=rows[:3]).fit(rows, checkpoint_path=tmp_path / "checkpoint.npz", should_stop=should_stop)


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    rows, path = blobs(100, 4, 3, seed=10), tmp_path / "checkpoint.npz"
    KMeans(3).fit(rows, checkpoint_path=path)
    KMeans(3).fit(rows, checkpoint_path=path)
    with pytest.raises(InputError, match="other features, K, start or seed"):
        KMeans(4).fit(rows, checkpoint_path=path)
    with pytest.raises(InputError, match="other features"):
        KMeans(3).fit(rows + 1, checkpoint_path=path)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(CorruptArtifactError, match="not a k-means checkpoint"):
        KMeans(3).fit(rows, checkpoint_path=path)

import numpy as np
from clustering.rows.test_sources import write_features
from clustering.test_kmeans import blobs
from sklearn.cluster import kmeans_plusplus

from ccssl_tf.clustering import KMeans
from ccssl_tf.clustering.rows import sources
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader
from ccssl_tf.clustering.start.kmeans_parallel import kmeans_parallel


def reader(rows, memory=1 << 30):
    return ChunkReader(sources.open_source(rows, memory), 1000, memory)


def test_is_as_good_as_plus_plus_on_all_rows():
    rows = blobs(3000, 16, 50, seed=5, spread=0.5)

    def potential(centers):
        return np.min(((rows[:, None] - centers[None]) ** 2).sum(-1), axis=1).sum()

    ours = np.mean([potential(kmeans_parallel(reader(rows), 50, seed)) for seed in range(4)])
    theirs = np.mean(
        [potential(kmeans_plusplus(rows, 50, random_state=seed)[0]) for seed in range(4)]
    )
    assert ours < 1.1 * theirs


def test_the_same_from_shards_and_array(tmp_path):
    rows = blobs(5000, 4, 30, seed=3)
    directory = write_features(tmp_path / "features", rows, [2000, 2345, 655])
    found = [
        kmeans_parallel(reader(source, memory), 30, 5)
        for source, memory in ((rows, 1 << 20), (directory, 1 << 20), (rows, 1 << 20))
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    assert not np.array_equal(found[0], kmeans_parallel(reader(rows), 30, 6))


def test_few_different_rows_and_as_many_clusters_as_rows(told):
    rows = np.tile(np.random.default_rng(6).normal(size=(5, 7)).astype(np.float32), [40, 1])
    kmeans = KMeans(10, initialization="k-means||").fit(rows)
    assert kmeans.inertia == 0 and kmeans.empty_clusters == 5
    assert KMeans(1, initialization="k-means||").fit(np.ones([4, 3])).inertia == 0
    different = np.random.default_rng(7).normal(size=(12, 3)).astype(np.float32)
    assert KMeans(12, initialization="k-means||").fit(different).inertia == 0

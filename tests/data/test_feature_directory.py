import numpy as np
import pytest
from clustering.rows.test_sources import write_features
from clustering.test_kmeans import blobs

from ccssl_tf.clustering import KMeans
from ccssl_tf.clustering.rows import sources
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader
from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.data import records
from ccssl_tf.data.feature_directory import read_features
from ccssl_tf.runs.errors import CorruptArtifactError


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
    shards = [
        manifest_lib.Shard(at.name, count, at.stat().st_size, "")
        for at, count in zip(paths, [100, 120, 80], strict=True)
    ]
    manifest_lib.Manifest("features", {"train": shards}, dict(dim=4, dtype="float32")).write(
        directory
    )
    with pytest.raises(CorruptArtifactError, match="train-00001-of-00003.tfrecord"):
        KMeans(3).fit(directory)


def test_single_rows_come_from_the_shards_that_hold_them(tmp_path):
    rows = blobs(500, 3, 2, seed=0)
    source = sources.DirectorySource(
        write_features(tmp_path / "features", rows, [100, 1, 250, 149])
    )
    for positions in ([0], [499], [100], [99, 100, 101], [3, 150, 350, 351, 498], range(500)):
        reader = ChunkReader(source, 64, 0)
        np.testing.assert_array_equal(reader.take(np.array(positions)), rows[list(positions)])
    np.testing.assert_array_equal(source.indices(), np.arange(500))


def test_all_rows_come_by_image_index(tmp_path):
    rows = blobs(300, 4, 3, seed=8)
    directory = write_features(tmp_path / "features", rows, [100, 120, 80])
    features = read_features(directory)
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features, rows)


@pytest.mark.parametrize("index", [-1, 3, 20])
def test_an_index_that_is_there_twice_or_out_of_range_is_refused(tmp_path, index):
    directory = tmp_path / "features"
    directory.mkdir()
    path = directory / "train-00000-of-00001.tfrecord"
    indices = np.append(np.arange(19), index)
    records.write_shard(path, [records.feature_example(indices, np.ones([20, 4], np.float32))])
    shard = manifest_lib.Shard(path.name, 20, path.stat().st_size, "")
    info = dict(dim=4, dtype="float32")
    manifest_lib.Manifest("features", {"train": [shard]}, info).write(directory)
    with pytest.raises(CorruptArtifactError, match="do not hold the 20 rows"):
        read_features(directory)

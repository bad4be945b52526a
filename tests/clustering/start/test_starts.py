import numpy as np
import pytest
from clustering.test_kmeans import blobs

from ccssl_tf.clustering import KMeans
from ccssl_tf.clustering.rows import sources
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader
from ccssl_tf.clustering.start import starts
from ccssl_tf.runs.errors import CorruptArtifactError, InputError


def test_centroids_of_a_file(tmp_path, told):
    rows, path = blobs(300, 4, 5, seed=0), tmp_path / "start.npy"
    np.save(path, rows[:5].astype(np.float64))
    for given in (path, str(path)):
        from_file = KMeans(5, initialization=given).fit(
            rows, checkpoint_path=tmp_path / "checkpoint.npz"
        )
        np.testing.assert_array_equal(
            from_file.centroids, KMeans(5, initialization=rows[:5]).fit(rows).centroids
        )
    np.save(path, rows[5:10])
    with pytest.raises(InputError, match="other features, K, start"):
        KMeans(5, initialization=path).fit(rows, checkpoint_path=tmp_path / "checkpoint.npz")


@pytest.mark.parametrize(
    "content",
    [
        np.ones([4, 4]),
        np.full([5, 4], np.nan),
        np.array([{}] * 5, object),
        np.ones([5, 4], bool),
        b"text",
    ],
)
def test_other_files_are_refused_by_name(tmp_path, content):
    path = tmp_path / "start.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content, allow_pickle=True)
    with pytest.raises((InputError, CorruptArtifactError), match="start.npy"):
        KMeans(5, initialization=path).fit(blobs(300, 4, 5, seed=0))


def test_the_size_of_the_sample_is_said(told):
    reader = ChunkReader(sources.open_source(blobs(30_000, 2, 3, seed=0), 1 << 30), 4096, 1 << 30)
    starts.initial_centroids(reader, 3, "k-means++", 0)
    assert "20000 of 30000 rows" in told()

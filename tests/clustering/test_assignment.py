import numpy as np
import pytest
from clustering.test_kmeans import blobs

from ccssl_tf.clustering import assignment, sources


def test_a_plain_pass_is_what_it_says():
    rows = blobs(700, 6, 9, seed=0).astype(np.float16)
    centroids = rows[:9].astype(np.float32)
    reader = sources.ChunkReader(sources.open_source(rows, 0), 64, 0)
    found = assignment.PlainAssignment(reader, np.full(700, -1, np.int32), np.zeros([9, 6])).step(centroids)
    exact = ((rows[:, None].astype(np.float64) - centroids) ** 2).sum(axis=-1)
    np.testing.assert_array_equal(found.labels, exact.argmin(axis=1))
    np.testing.assert_allclose(found.squares, exact.min(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(found.counts, np.bincount(found.labels, minlength=9))
    for cluster in range(9):
        np.testing.assert_allclose(found.sums[cluster], rows[found.labels == cluster].astype(np.float64).sum(axis=0), rtol=1e-9)
    assert found.distances == 700 * 9 and found.labels.dtype == np.int32


@pytest.mark.parametrize("cores", [1, 2, 64])
def test_chunks_shrink_with_the_dimension(cores, monkeypatch):
    monkeypatch.setattr("ccssl_tf.runtime.num_cores", lambda: cores)
    assert assignment.chunk_rows(4, 3) == cores * 4096
    assert assignment.chunk_rows(9600, 2000) * 4 * 9600 <= cores * (32 << 20)
    assert assignment.chunk_rows(10**8, 10) == 16


@pytest.mark.parametrize("cores", [1, 2, 7, 64])
@pytest.mark.parametrize("num_rows", [0, 1, 6, 1278, 8192, 40000])
def test_every_thread_has_as_many_rows(cores, num_rows, monkeypatch):
    monkeypatch.setattr("ccssl_tf.runtime.num_cores", lambda: cores)
    blocks = [np.arange(num_rows)[block] for (block,) in assignment.blocks(num_rows)]
    np.testing.assert_array_equal(np.concatenate([np.zeros(0, int), *blocks]), np.arange(num_rows))
    sizes = [len(block) for block in blocks]
    assert not sizes or max(sizes) <= 1024 and len(set(sizes[:-1])) <= 1
    # The last round of blocks leaves few threads idle.
    assert sum(max(sizes[at : at + cores]) for at in range(0, len(sizes), cores)) <= num_rows / cores + len(sizes)

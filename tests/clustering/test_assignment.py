import numpy as np
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


def test_chunks_shrink_with_the_dimension():
    assert assignment.chunk_rows(4, 3) == 8192
    assert assignment.chunk_rows(9600, 2000) * (20 * 9600 + 4 * 2000) <= 256 << 20
    assert assignment.chunk_rows(10**8, 10) == 16

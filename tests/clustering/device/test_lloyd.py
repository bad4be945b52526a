import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.clustering.device.lloyd import DeviceAssignment
from ccssl_tf.clustering.host import plain
from ccssl_tf.clustering.rows import sources
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader
from ccssl_tf.runs.errors import InputError

ROWS = (
    np.random.default_rng(0).normal(size=[603, 24]) + np.repeat(np.arange(9), 67)[:, None]
).astype(np.float32)


@pytest.mark.parametrize(
    "strategy",
    [tf.distribute.get_strategy(), tf.distribute.OneDeviceStrategy("/cpu:0")],
    ids=["default", "one device"],
)
@pytest.mark.parametrize("memory_bytes", [0, 1 << 30])
def test_one_replica_as_on_a_gpu(strategy, memory_bytes):
    reader = ChunkReader(sources.open_source(ROWS, 1 << 30), 100, memory_bytes)
    labels, sums = np.full(len(ROWS), -1, np.int32), np.zeros([12, ROWS.shape[1]])
    found = DeviceAssignment(reader, labels, sums, strategy=strategy).step(ROWS[:12])
    wanted = plain.PlainAssignment(reader, labels, sums).step(ROWS[:12])
    for name in ("labels", "sums", "counts"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=1e-12)
    np.testing.assert_allclose(found.squares, wanted.squares, rtol=1e-5)
    ours = DeviceAssignment(reader, labels, sums, strategy=strategy)
    theirs = plain.PlainAssignment(reader, labels, sums)
    for centroids in (ROWS[:12], ROWS[100:112]):
        result, wanted = ours.step(centroids), theirs.step(centroids)
        np.testing.assert_array_equal(result.labels, wanted.labels)
        np.testing.assert_allclose(result.sums, wanted.sums, rtol=1e-11)
        np.testing.assert_array_equal(result.counts, wanted.counts)
        np.testing.assert_allclose(result.squares, wanted.squares, rtol=1e-5)
        assert result.distances == wanted.distances


def test_a_row_that_is_not_finite_is_named():
    rows = ROWS.copy()
    rows[321, 4] = np.inf
    reader = ChunkReader(sources.open_source(rows, 1 << 30), 100, 0)
    replicas = DeviceAssignment(
        reader,
        np.full(len(rows), -1, np.int32),
        np.zeros([3, 24]),
        strategy=tf.distribute.get_strategy(),
    )
    with pytest.raises(InputError, match="row 321 "):
        replicas.step(rows[:3])

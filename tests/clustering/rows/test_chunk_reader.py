import numpy as np
import pytest
from clustering.rows.test_sources import write_features
from clustering.test_kmeans import blobs

from ccssl_tf.clustering.host import windows
from ccssl_tf.clustering.rows import sources
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader
from ccssl_tf.runs.errors import InputError, Interrupted


@pytest.mark.parametrize(
    "stored, memory, kept",
    [("float16", 4, "float32"), ("float16", 3, "float16"), ("float32", 5, "float32")],
)
def test_kept_rows_are_float32_where_that_fits(tmp_path, stored, memory, kept):
    rows = blobs(1000, 60, 9, seed=2).astype(stored)
    source = sources.open_source(write_features(tmp_path / "features", rows, [400, 600], stored), 0)
    reader = ChunkReader(source, 256, memory * rows.size)
    assert reader.keeps and {chunk.dtype.name for _, chunk in reader} == {stored}
    assert {chunk.dtype.name for _, chunk in reader} == {kept} and reader.bytes_read == 0
    np.testing.assert_array_equal(np.concatenate([chunk for _, chunk in reader]), rows)
    np.testing.assert_array_equal(reader.take(np.arange(1000)), rows)
    ((_, window),) = windows.Windows(source, memory * rows.size).from_row(0)
    assert window.dtype == kept
    np.testing.assert_array_equal(window, rows)


@pytest.mark.parametrize("memory_bytes", [0, 1 << 20])
def test_reading_from_a_row_on(tmp_path, memory_bytes):
    rows = blobs(1000, 4, 3, seed=0)
    source = sources.open_source(write_features(tmp_path / "features", rows, [300, 1, 699]), 0)
    reader = ChunkReader(source, 128, memory_bytes)
    for _ in range(2):
        for first in (0, 1, 127, 128, 300, 999):
            chunks = list(reader.from_row(first))
            assert chunks[0][0] == first
            np.testing.assert_array_equal(
                np.concatenate([chunk for _, chunk in chunks]), rows[first:]
            )
        assert not list(reader.from_row(1000))
        reader.load()
    list(reader)
    assert (reader.bytes_read == 0) == reader.keeps == (memory_bytes > 0)


def test_a_reader_of_another_source_is_like_this_one():
    asked = []
    reader = ChunkReader(
        sources.open_source(np.ones([50, 2]), 0), 7, 1 << 20, lambda: asked.append(1) or False
    )
    other = reader.of_source(sources.open_source(np.ones([20, 2]), 0))
    assert other.memory_bytes == 1 << 20
    assert [len(chunk) for _, chunk in other] == [7, 7, 6] and len(asked) == 3
    other = reader.of_source(other.source, memory_bytes=0, rows=10)
    assert other.memory_bytes == 0 and [len(chunk) for _, chunk in other] == [10, 10]


def test_a_stop_interrupts_and_missing_rows_are_named():
    rows = np.arange(60, dtype=np.float32).reshape(30, 2)
    with pytest.raises(Interrupted):
        list(ChunkReader(sources.open_source(rows, 0), 7, 0, lambda: True))
    reader = ChunkReader(sources.open_source(rows, 0), 7, 0)
    np.testing.assert_array_equal(reader.take(np.array([0, 7, 29])), rows[[0, 7, 29]])
    with pytest.raises(InputError, match="row 30 is missing"):
        reader.take(np.array([3, 30]))

import numpy as np
import pytest
import tensorflow as tf
from clustering.rows.test_sources import write_features

from ccssl_tf.clustering.device import rows as device_rows
from ccssl_tf.clustering.rows import sources
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader
from ccssl_tf.runs.errors import InputError

ROWS = np.arange(500 * 3, dtype=np.float32).reshape(500, 3)


def rows_of(features, memory_bytes, first=0):
    reader = ChunkReader(sources.open_source(features, memory_bytes), 64, memory_bytes)
    return device_rows.DeviceRows(reader, tf.distribute.get_strategy(), 5, first=first)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(device_rows, "chunk_rows", lambda num_clusters, dim: 60)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32])
def test_kept_rows_are_given_by_chunk_and_by_position(dtype):
    values = (ROWS[:200] / 2).astype(dtype)
    kept = rows_of(values, 1 << 20, first=1000)
    assert kept.keeps and not kept.is_loaded
    (share,) = kept.shares()
    assert kept.is_loaded and share.rows.dtype in (tf.float16, tf.float32)
    starts, chunks = zip(*map(share.chunk, range(kept.chunks_each)), strict=True)
    np.testing.assert_array_equal(starts, [0, 60, 120, 180])
    np.testing.assert_array_equal(np.concatenate(chunks), values)
    slots, taken = share.of(tf.constant([1199, 5, 1000, 1200, 1061], tf.int64))
    np.testing.assert_array_equal(slots, [0, 2, 4])
    np.testing.assert_array_equal(taken, values[[199, 0, 61]])


def test_float16_is_kept_as_float32_where_that_fits_a_cpu():
    values = ROWS.astype(np.float16)
    assert rows_of(values, 6000).shares()[0].rows.dtype == tf.float32
    assert rows_of(values, 5999).shares()[0].rows.dtype == tf.float16


@pytest.mark.parametrize("kind", ["array", "directory", "dataset"])
def test_rows_that_do_not_fit_are_dealt(tmp_path, kind):
    features = dict(
        array=ROWS,
        directory=write_features(tmp_path / "features", ROWS, [100, 1, 250, 149]),
        dataset=tf.data.Dataset.from_tensor_slices(ROWS).batch(32),
    )[kind]
    dealt = rows_of(features, 100)
    assert not dealt.keeps and dealt.chunks_each == 9
    for _ in range(2):
        with dealt.dealt_chunks() as chunks:
            for start in range(0, 500, 60):
                position, rows = next(chunks)
                assert position == start
                np.testing.assert_array_equal(rows, ROWS[start : start + 60])


def test_a_source_that_ends_early_is_named():
    class Short(sources.ArraySource):
        def chunks(self, rows):
            yield self.array[:100]

    source = Short(ROWS)
    with pytest.raises(InputError, match="gave 100 rows"):
        rows_of(source, 1 << 20).shares()
    with (
        pytest.raises(InputError, match="gave 100 rows"),
        rows_of(source, 0).dealt_chunks() as chunks,
    ):
        for _ in range(9):
            next(chunks)

import numpy as np
import pytest
import tensorflow as tf
from clustering.rows.test_sources import write_features

from ccssl_tf.clustering.host import windows
from ccssl_tf.clustering.rows import sources
from ccssl_tf.runs.errors import InputError


@pytest.mark.parametrize("memory_gb", [1.0, 1e-6])
@pytest.mark.parametrize("kind", ["array", "directory", "tf.data"])
def test_the_same_windows_on_every_pass(tmp_path, kind, memory_gb):
    rows = np.random.default_rng(0).normal(size=(1000, 5)).astype(np.float16)
    features = rows
    if kind == "directory":
        features = write_features(tmp_path / "features", rows, [300, 1, 699], "float16")
    elif kind == "tf.data":
        features = tf.data.Dataset.from_tensor_slices(rows).batch(77)
    source = sources.open_source(features, int(memory_gb * 2**30))
    reading = windows.Windows(source, int(memory_gb * 2**30))
    passes = [list(reading.from_row(0)) for _ in range(3)]
    for given in passes:
        np.testing.assert_array_equal(np.concatenate([window for _, window in given]), rows)
        assert [start for start, _ in given] == [start for start, _ in passes[0]]
    in_memory = memory_gb == 1 or kind == "array"
    assert (len(passes[0]) == 1) == in_memory
    assert (reading.bytes_read > 0) == (not in_memory)
    if kind == "array":
        assert np.shares_memory(passes[0][0][1], rows)
    for first, _ in passes[0]:
        later = list(reading.from_row(first))
        np.testing.assert_array_equal(np.concatenate([window for _, window in later]), rows[first:])
        assert later[0][0] == first
    assert not list(reading.from_row(1000))


def test_many_rows_in_memory_are_given_out_in_parts(monkeypatch):
    monkeypatch.setattr(windows, "_KEPT_ROWS", 300)
    rows = np.arange(2000, dtype=np.float32).reshape(1000, 2)
    reading = windows.Windows(sources.open_source(rows, 1 << 30), 1 << 30)
    assert [(start, len(window)) for start, window in reading.from_row(300)] == [
        (300, 300),
        (600, 300),
        (900, 100),
    ]


@pytest.mark.parametrize("count", [10, 30])
def test_other_rows_on_a_later_pass_are_refused(count):
    class Source(sources.ArraySource):
        in_memory = False

        def chunks(self, rows):
            yield np.zeros([count, 3], np.float32)

    with pytest.raises(InputError, match="instead of 20"):
        list(windows.Windows(Source(np.zeros([20, 3], np.float32)), 100).from_row(0))

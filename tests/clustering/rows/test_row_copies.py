import numpy as np
import pytest

from ccssl_tf.clustering.rows.row_copies import Gathered, as_float32, as_float64


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8", "int64"])
def test_gathered_rows_are_float32_copies(dtype):
    rows = np.arange(30).reshape(10, 3).astype(dtype)
    memory = Gathered(5, 3)
    for index in ([0, 9, 4], [2], [], [1, 1, 1, 1, 8]):
        taken = memory.take(rows, np.array(index, np.int32))
        assert taken.dtype == np.float32 and not np.shares_memory(taken, rows)
        np.testing.assert_array_equal(taken, rows[index])


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_every_float16_becomes_the_float32_it_is():
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    rows = np.stack([every, every[::-1]], axis=1)
    for given in (rows, np.asfortranarray(rows), rows[::2], rows[:1], rows[:0], rows.astype(">f2")):
        found = as_float32(given)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, given.astype(np.float32))
        np.testing.assert_array_equal(np.signbit(found), np.signbit(given))
        out = np.empty([len(given) + 1, 2], np.float32)
        assert np.shares_memory(as_float32(given, out[1:]), out) or not len(given)
        np.testing.assert_array_equal(out[1:], found)
        np.testing.assert_array_equal(as_float64(given), given.astype(np.float64))


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int64"])
def test_other_rows_as_float32(dtype):
    rows = np.arange(30).reshape(10, 3).astype(dtype)
    found, out = as_float32(rows), np.empty([10, 3], np.float32)
    assert found.dtype == np.float32 and np.shares_memory(found, rows) == (dtype == "float32")
    for converted in (found, as_float32(rows, out), out, as_float64(rows)):
        np.testing.assert_array_equal(converted, rows)
    assert not np.shares_memory(as_float64(rows), rows)

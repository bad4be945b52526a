import numpy as np
import pytest

from ccssl_tf.clustering.host.block_threads import block_rows
from ccssl_tf.clustering.host.measuring import check_finite, measure, measuring_threads
from ccssl_tf.clustering.rows import sources
from ccssl_tf.runs.errors import InputError


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
def test_only_the_named_rows_are_measured(dtype):
    generator = np.random.default_rng(0)
    rows = generator.normal(0, 5, size=(700, 9)).astype(dtype)
    centroids = generator.normal(size=(6, 9)).astype(np.float32)
    labels = generator.integers(6, size=700).astype(np.int32)
    numbers = np.flatnonzero(generator.random(700) < 0.6)
    squares = np.full(700, -1, np.float32)
    measure(rows, centroids, labels, squares, measuring_threads(9, 6, 700), numbers)
    exact = ((rows.astype(np.float64) - centroids[labels]) ** 2).sum(axis=1)
    np.testing.assert_allclose(squares[numbers], exact[numbers], rtol=1e-5)
    assert (np.delete(squares, numbers) == -1).all()


def test_threads_have_memory_for_a_block():
    threads = measuring_threads(9, 6, 5000)
    assert threads.num_rows["block"] == block_rows(5000, 9, 6)
    assert len(threads.memory.block.first(10**6)) == block_rows(5000, 9, 6)


def test_the_first_row_that_is_not_finite_is_named():
    source = sources.ArraySource(np.ones([30, 2]))
    check_finite(source, np.ones(10, np.float32), 7)
    values = np.array([1, np.inf, 2, np.nan], np.float32)
    with pytest.raises(InputError, match="row 8 "):
        check_finite(source, values, 7)

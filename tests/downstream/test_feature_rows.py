"""Orders of epochs; rows cut into batches. `test_feature_cache` reads them from disk."""

import numpy as np

from ccssl_tf.data.pipeline import Epoch
from ccssl_tf.downstream.feature_rows import RowsInMemory, rebatched


def rows(count):
    index = np.arange(count)
    return index, np.stack([index, -index], 1).astype(np.float16), index % 3


def test_rows_of_a_batch_belong_together_and_an_epoch_is_resumed():
    epoch = Epoch(4, seed=1, number=2)
    batches = list(RowsInMemory(rows(11)).batches(epoch)())
    assert [len(index) for index, *_ in batches] == [4, 4, 3]
    order = np.concatenate([index for index, *_ in batches])
    expected = np.random.default_rng([1, 2]).permutation(11)
    np.testing.assert_array_equal(order, expected)
    for index, features, label in batches:
        np.testing.assert_array_equal(features, np.stack([index, -index], 1))
        np.testing.assert_array_equal(label, index % 3)
    rest = list(RowsInMemory(rows(11)).batches(Epoch(4, seed=1, number=2, first_batch=2))())
    assert len(rest) == 1
    np.testing.assert_array_equal(rest[0][0], batches[2][0])


def test_evaluation_is_in_order_from_the_first_row():
    batches = RowsInMemory(rows(5)).batches(Epoch(2, seed=1, first_batch=1, training=False))
    assert [index.tolist() for index, *_ in batches()] == [[0, 1], [2, 3], [4]]


def test_blocks_are_cut_into_batches():
    index, features, label = rows(14)
    ends = [0, 3, 4, 12, 14]
    parts = [slice(*pair) for pair in zip(ends[:-1], ends[1:], strict=True)]
    blocks = ((index[part], features[part], label[part]) for part in parts)
    cut = list(rebatched(blocks, 4))
    assert len(cut) == 3
    np.testing.assert_array_equal(np.concatenate([index for index, *_ in cut]), np.arange(12))

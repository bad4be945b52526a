import numpy as np
import pytest

from ccssl_tf.data.feature_source import FeatureSource, naming_faults
from ccssl_tf.runs.errors import InputError


class Counting(FeatureSource):
    """Row i is [i, i]; what is not abstract is inherited."""

    def __init__(self, num_examples):
        self.num_examples, self.dim, self.dtype = num_examples, 2, np.dtype(np.int64)
        self.in_memory, self.num_bytes, self.bytes_per_pass = False, 16 * num_examples, 0

    def fingerprint(self):
        return str(self.num_examples)

    def chunks(self, rows):
        for start in range(0, self.num_examples, rows):
            stop = min(start + rows, self.num_examples)
            yield np.repeat(np.arange(start, stop)[:, None], 2, axis=1)

    def blocks_holding(self, positions):
        return self.chunks(3), positions

    def not_finite(self, position):
        return ValueError(position)


def test_a_source_without_some_of_the_contract_cannot_be_made():
    class Incomplete(Counting):
        blocks_holding = FeatureSource.blocks_holding

    with pytest.raises(TypeError, match="blocks_holding"):
        Incomplete(3)


@pytest.mark.parametrize("num_examples, rows", [(10, 3), (9, 3), (2, 3), (1, 1)])
def test_by_default_rows_are_shuffled_inside_windows(num_examples, rows):
    source = Counting(num_examples)
    whole = None
    for skip in range(num_examples + 1):
        faults = []
        windows = source.shuffled(np.random.default_rng(0), rows, skip, faults)
        order = []
        for positions, values in windows.as_numpy_iterator():
            np.testing.assert_array_equal(values, np.stack([positions] * 2, 1))
            order += positions.tolist()
        whole = whole or order
        assert order == whole[skip:] and not faults
    for start in range(0, num_examples, rows):
        window = range(start, min(start + rows, num_examples))
        assert sorted(whole[start : start + rows]) == list(window)


def test_rows_come_as_a_tf_data_and_faults_are_the_sources():
    source = Counting(7)
    chunks = list(source.dataset(3, []).as_numpy_iterator())
    np.testing.assert_array_equal(np.concatenate(chunks)[:, 1], np.arange(7))


@pytest.mark.parametrize("shuffled", [False, True])
def test_faults_are_those_of_the_source(shuffled):
    class Short(Counting):
        def chunks(self, rows):
            yield from list(super().chunks(rows))[:-1]

    source, faults = Short(7), []
    generator = np.random.default_rng(0)
    rows = source.shuffled(generator, 3, 0, faults) if shuffled else source.dataset(3, faults)
    with pytest.raises(InputError, match="every pass"), naming_faults(source, faults):
        list(rows)


def test_weights_of_rows():
    source = Counting(4)
    assert source.weights_of(slice(1, 3)) is None and source.total_weight == 4
    source.weights = np.array([1.0, 0.5, 2.0, 0.0])
    assert source.weights_of(slice(1, 3)).tolist() == [0.5, 2.0] and source.total_weight == 3.5


def test_a_pass_of_other_rows_is_refused():
    error = Counting(7).other_count(9)
    assert "gave 9 rows or more instead of 7" in str(error) and error.exit_code == 2

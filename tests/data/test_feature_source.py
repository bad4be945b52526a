import numpy as np
import pytest

from ccssl_tf.data.feature_source import FeatureSource


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
def test_windows_are_consecutive_by_default(num_examples, rows):
    source = Counting(num_examples)
    windows = source.windows(np.random.default_rng(0), rows)
    positions = [[number for part in window for number in part] for window in windows]
    assert sum(positions, []) == list(range(num_examples))
    assert all(len(window) == rows for window in positions[:-1])
    for first in range(len(windows) + 1):
        blocks = [block[:, 0].tolist() for block in source.read_windows(windows, first)]
        assert blocks == positions[first:]


def test_a_pass_of_other_rows_is_refused():
    error = Counting(7).other_count(9)
    assert "gave 9 rows or more instead of 7" in str(error) and error.exit_code == 2

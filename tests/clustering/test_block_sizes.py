import pytest

from ccssl_tf.clustering.block_sizes import WORK_BYTES_A_CORE, block_rows


@pytest.mark.parametrize(
    "num_examples, dim, num_clusters, rows",
    [
        (1, 4, 3, 1),
        (15_000, 4800, 1000, 1888),
        (1_281_167, 9600, 2000, 1104),
        (10**6, 4, 10**6, 10),
        (1000, 10**8, 10, 1),
    ],
)
def test_blocks_are_equal_and_fit_their_bytes(num_examples, dim, num_clusters, rows):
    assert block_rows(num_examples, dim, num_clusters) == rows
    # They are rounded up to whole tiles of 16 rows.
    assert rows == 1 or 4 * (rows - 16) * max(dim, num_clusters) <= WORK_BYTES_A_CORE / 8


@pytest.mark.parametrize("cores", [1, 2, 64])
def test_blocks_are_the_same_on_any_number_of_cores(cores, monkeypatch):
    monkeypatch.setattr("ccssl_tf.runs.machine.num_cores", lambda: cores)
    assert block_rows(15_000, 4800, 1000) == 1888

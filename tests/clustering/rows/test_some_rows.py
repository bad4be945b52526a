import numpy as np
import pytest
from clustering.rows.test_sources import write_features

from ccssl_tf.clustering.rows import sources
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader
from ccssl_tf.clustering.rows.some_rows import SomeRows

ROWS = np.random.default_rng(0).normal(size=[603, 24]).astype(np.float32)
POSITIONS = np.flatnonzero(np.random.default_rng(1).random(603) < 0.3)
POSITIONS = POSITIONS[(POSITIONS < 101) | (POSITIONS >= 351)]


@pytest.fixture(params=["array", "directory"])
def source(request, tmp_path):
    if request.param == "array":
        return sources.ArraySource(ROWS)
    return sources.DirectorySource(write_features(tmp_path / "f", ROWS, [100, 1, 250, 252]))


@pytest.mark.parametrize("chunk_rows", [7, 64, 1000])
def test_they_are_the_rows_at_the_positions(source, chunk_rows):
    some = SomeRows(source, POSITIONS)
    for _ in range(2):
        chunks = list(some.chunks(chunk_rows))
        assert all(len(chunk) == chunk_rows for chunk in chunks[:-1])
        np.testing.assert_array_equal(np.concatenate(chunks), ROWS[POSITIONS])
    assert (some.num_examples, some.dim, some.dtype) == (len(POSITIONS), 24, np.float32)
    wanted = np.array([0, 3, 40, len(POSITIONS) - 1])
    taken = ChunkReader(some, 50, 0).take(wanted)
    np.testing.assert_array_equal(taken, ROWS[POSITIONS[wanted]])
    rest = ChunkReader(some, 50, 0).from_row(33)
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in rest]), ROWS[POSITIONS[33:]])
    assert str(some.not_finite(3)) == str(source.not_finite(int(POSITIONS[3])))


def test_shards_without_any_are_not_read(tmp_path):
    source = sources.DirectorySource(write_features(tmp_path / "f", ROWS, [100, 1, 250, 252]))
    damaged = tmp_path / "f" / "train-00002-of-00004.tfrecord"
    damaged.write_bytes(b"0" * damaged.stat().st_size)
    some = SomeRows(source, POSITIONS)
    np.testing.assert_array_equal(np.concatenate(list(some.chunks(50))), ROWS[POSITIONS])


def test_weights_and_fingerprints(source):
    weighted = sources.weighted_source(source, np.arange(603))
    np.testing.assert_array_equal(SomeRows(weighted, POSITIONS).weights, POSITIONS)
    ours, same, other = (
        SomeRows(source, positions).fingerprint()
        for positions in (POSITIONS, POSITIONS.copy(), POSITIONS[1:])
    )
    assert ours == same != other

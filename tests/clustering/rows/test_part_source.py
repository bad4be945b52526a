import numpy as np
import pytest
from clustering.rows.test_sources import write_features

from ccssl_tf.clustering.rows import sources
from ccssl_tf.clustering.rows.part_source import PartSource
from ccssl_tf.data.feature_source import FeatureSource

ROWS = np.random.default_rng(0).normal(size=[603, 24]).astype(np.float32)


@pytest.mark.parametrize("first, last", [(0, 603), (0, 300), (130, 131), (251, 603)])
@pytest.mark.parametrize("chunk_rows", [7, 64, 1000])
def test_a_part_is_the_rows_of_the_whole(first, last, chunk_rows):
    class InBlocks(sources.ArraySource):
        def blocks_holding(self, positions):
            """As a directory: only blocks of 50 rows that hold some of them."""
            needed = np.unique(positions // 50)
            return [ROWS[number * 50 : number * 50 + 50] for number in needed], positions - needed[
                0
            ] * 50

    for source in (sources.ArraySource(ROWS), InBlocks(ROWS)):
        part = PartSource(source, slice(first, last))
        chunks = list(part.chunks(chunk_rows))
        assert all(len(chunk) == chunk_rows for chunk in chunks[:-1])
        np.testing.assert_array_equal(np.concatenate(chunks), ROWS[first:last])
        assert part.num_examples == last - first and part.num_bytes == (last - first) * 24 * 4
        assert str(part.not_finite(0)) == str(source.not_finite(first))


def test_a_part_of_a_directory_is_a_source_itself(tmp_path):
    source = sources.DirectorySource(
        write_features(tmp_path / "features", ROWS, [100, 1, 250, 252])
    )
    part = PartSource(source, slice(90, 480))
    assert isinstance(part, FeatureSource) and part.dtype == np.float32
    np.testing.assert_array_equal(np.concatenate(list(part.chunks(50))), ROWS[90:480])
    windows = part.shuffled(np.random.default_rng(0), 100, 120, [])
    positions, rows = map(np.concatenate, zip(*windows.as_numpy_iterator(), strict=True))
    assert len(positions) == 270 and sorted(positions)[80:] == list(range(200, 390))
    np.testing.assert_array_equal(rows, ROWS[90 + positions])
    others = [PartSource(source, slice(*ends)) for ends in ((90, 480), (90, 481))]
    assert part.fingerprint() == others[0].fingerprint() != others[1].fingerprint()

import itertools

import numpy as np
import pytest
import tensorflow as tf
from clustering.rows.test_sources import write_features

from ccssl_tf.clustering.device.minibatches import Minibatches
from ccssl_tf.clustering.rows import sources
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader


@pytest.mark.parametrize("kind", ["array", "kept", "streamed", "dataset"])
def test_every_pass_takes_every_row_once_and_begins_anywhere(tmp_path, kind):
    rows = np.arange(500 * 3, dtype=np.float32).reshape(500, 3)
    memory = 1 << 20 if kind in ("array", "kept") else 2400
    features = rows if kind == "array" else tf.data.Dataset.from_tensor_slices(rows).batch(32)
    if kind in ("kept", "streamed"):
        features = write_features(tmp_path / "features", rows, [100, 1, 250, 149])
    reader = ChunkReader(sources.open_source(features, memory), 64, memory)
    batches = Minibatches(reader, 30, seed=3)
    assert batches.steps_per_pass == 17
    drawn = list(itertools.islice(batches.from_step(0), 34))
    for positions, values in drawn:
        np.testing.assert_array_equal(values, rows[positions])
        assert (np.diff(positions) > 0).all() and values.dtype == np.float32
    for own in (drawn[:17], drawn[17:]):
        np.testing.assert_array_equal(
            np.sort(np.concatenate([positions for positions, _ in own])), np.arange(500)
        )
    assert not np.array_equal(drawn[0][0], drawn[17][0])
    for step in (1, 9, 16, 17, 20):
        np.testing.assert_array_equal(next(batches.from_step(step))[0], drawn[step][0])
    assert not np.array_equal(next(Minibatches(reader, 30, seed=4).from_step(0))[0], drawn[0][0])

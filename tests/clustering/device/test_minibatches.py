import numpy as np
import pytest
import tensorflow as tf
from clustering.rows.test_sources import write_features

from ccssl_tf.clustering.device.minibatch import MinibatchSteps
from ccssl_tf.clustering.device.minibatch_state import MinibatchState
from ccssl_tf.clustering.device.minibatches import Minibatches
from ccssl_tf.clustering.rows import sources
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader
from ccssl_tf.runs.errors import CorruptArtifactError


class Recorder:
    """Takes batches as `MinibatchSteps` does, and keeps them."""

    def __init__(self):
        self.drawn = []

    def begin_pass(self, order):
        self.order = tf.constant(order)

    def run_kept(self, rows, first, count, batch_rows):
        for number in range(first, first + count):
            positions = self.order[number * batch_rows : (number + 1) * batch_rows]
            slots, values = rows.shares()[0].of(positions)
            np.testing.assert_array_equal(slots, np.arange(len(positions)))
            self.drawn.append((positions.numpy(), values.numpy()))

    def run_dealt(self, batches, count, batch_rows):
        for _ in range(count):
            positions, slots, values = next(batches)
            np.testing.assert_array_equal(slots, np.arange(len(positions)))
            self.drawn.append((positions.numpy(), values.numpy()))


def drawn(batches, number, skip=0):
    recorder = Recorder()
    for _ in batches.run_pass(recorder, number, skip):
        pass
    return recorder.drawn


@pytest.mark.parametrize("kind", ["array", "large array", "kept", "streamed", "dataset"])
def test_every_pass_takes_every_row_once_and_begins_anywhere(tmp_path, kind):
    rows = np.arange(500 * 3, dtype=np.float32).reshape(500, 3)
    memory = 1 << 20 if kind in ("array", "kept") else 2400
    features = rows if "array" in kind else tf.data.Dataset.from_tensor_slices(rows).batch(32)
    if kind in ("kept", "streamed"):
        features = write_features(tmp_path / "features", rows, [100, 1, 250, 149])
    reader = ChunkReader(sources.open_source(features, memory), 64, memory)

    def batches_of(seed):
        strategy = tf.distribute.get_strategy()
        return Minibatches(reader, strategy, num_clusters=5, batch_rows=30, seed=seed)

    batches = batches_of(3)
    assert batches.steps_per_pass == 17
    passes = [drawn(batches, number) for number in range(2)]
    for batch in passes:
        for positions, values in batch:
            np.testing.assert_array_equal(values, rows[positions])
            assert values.dtype == np.float32
        assert [len(positions) for positions, _ in batch] == [30] * 16 + [20]
        np.testing.assert_array_equal(
            np.sort(np.concatenate([positions for positions, _ in batch])), np.arange(500)
        )
    assert not np.array_equal(passes[0][0][0], passes[1][0][0])
    for number, skip in ((0, 1), (0, 9), (0, 16), (1, 3)):
        for (positions, _), (wanted, _) in zip(
            drawn(batches, number, skip), passes[number][skip:], strict=True
        ):
            np.testing.assert_array_equal(positions, wanted)
    assert not np.array_equal(drawn(batches_of(4), 0)[0][0], passes[0][0][0])


def test_damage_is_named(tmp_path):
    rows = np.arange(500 * 3, dtype=np.float32).reshape(500, 3)
    path = write_features(tmp_path / "features", rows, [250, 250])
    shard = sorted(path.glob("*.tfrecord*"))[1]
    # Once it is open: what is looked at then would tell.
    reader = ChunkReader(sources.open_source(path, 0), 64, 0)
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    strategy = tf.distribute.get_strategy()
    batches = Minibatches(reader, strategy, num_clusters=5, batch_rows=30, seed=0)
    with pytest.raises(CorruptArtifactError, match=shard.name):
        drawn(batches, 0)


def test_the_host_reads_as_often_in_many_steps_as_in_few(monkeypatch):
    tensor_type = type(tf.constant(0)).__mro__[1]
    to_numpy, reads = tensor_type.numpy, []
    rows = np.random.default_rng(0).normal(size=(6000, 3)).astype(np.float32)

    def counted(tensor):
        reads.append(tensor)
        return to_numpy(tensor)

    def reads_of_a_pass(batch_rows):
        reader = ChunkReader(sources.open_source(rows, 1 << 20), 64, 1 << 20)
        strategy = tf.distribute.get_strategy()
        batches = Minibatches(reader, strategy, num_clusters=5, batch_rows=batch_rows, seed=0)
        steps = MinibatchSteps(
            MinibatchState.start(rows[:5], 6000), strategy, seed=0, reassignment_ratio=0.01
        )
        batches.rows.shares()
        with monkeypatch.context() as patched:
            patched.setattr(tensor_type, "numpy", counted)
            reads.clear()
            steps_made = [progress.step for progress in batches.run_pass(steps, 0, 0)]
        assert steps_made[-1] == 6000 // batch_rows
        return len(reads)

    few, many = reads_of_a_pass(4), reads_of_a_pass(1)
    assert few <= many <= 64 and few > 50

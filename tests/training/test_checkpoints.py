"""What checkpoints hold and refuse; that runs resume from them exactly is tested in
test_loop.py.
"""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.runs.errors import CorruptArtifactError, InputError
from ccssl_tf.training.checkpoints import Checkpoints


def build(directory, units=3, fingerprints=None):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input([4]), keras.layers.Dense(units), keras.layers.Dropout(0.5)]
    )
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    optimizer.build(model.trainable_variables)
    return (
        model,
        optimizer,
        Checkpoints(directory, model, optimizer, fingerprints or dict(data="a")),
    )


def advance(model, optimizer, checkpoints, step):
    optimizer.apply(
        [np.full(v.shape, step, np.float32) for v in model.trainable_variables],
        model.trainable_variables,
    )
    model(np.ones([8, 4], np.float32), training=True)
    checkpoints.step.assign(step)
    checkpoints.save(dict(steps=list(range(step + 1))))


def test_weights_momentum_random_state_step_and_history_come_back(tmp_path):
    model, optimizer, checkpoints = build(tmp_path)
    for step in (1, 2, 3):
        advance(model, optimizer, checkpoints, step)
    again, other_optimizer, restored = build(tmp_path)
    assert restored.restore() == dict(steps=[0, 1, 2, 3])
    assert int(restored.step) == 3
    for ours, theirs in zip(
        model.variables + optimizer.variables,
        again.variables + other_optimizer.variables,
        strict=True,
    ):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=ours.path)
    inputs = np.ones([8, 4], np.float32)
    np.testing.assert_array_equal(model(inputs, training=True), again(inputs, training=True))


def test_only_the_last_two_are_kept(tmp_path):
    model, optimizer, checkpoints = build(tmp_path)
    for step in (1, 2, 3, 4):
        advance(model, optimizer, checkpoints, step)
    assert sorted(path.name for path in tmp_path.glob("*.index")) == [
        "ckpt-3.index",
        "ckpt-4.index",
    ]


def test_what_a_killed_run_left_goes_with_the_next_checkpoint(tmp_path):
    model, optimizer, checkpoints = build(tmp_path)
    advance(model, optimizer, checkpoints, 1)
    state = (tmp_path / "checkpoint").read_bytes()
    advance(model, optimizer, checkpoints, 2)
    (tmp_path / "checkpoint").write_bytes(state)  # Killed before it was written,
    (tmp_path / "ckpt-3.data-00000-of-00001").write_bytes(b"x")  # before an index was,
    (tmp_path / "ckpt-3_temp").mkdir()  # and in the middle of the data.
    again = build(tmp_path)
    assert again[2].restore() == dict(steps=[0, 1, 2])
    for step in (4, 5):
        advance(*again, step)
        older = 2 if step == 4 else 4
        files = [f"ckpt-{number}" for number in (older, step)]
        assert (
            sorted({path.name.split(".")[0] for path in tmp_path.iterdir()} - {"checkpoint"})
            == files
        )
        assert tf.train.latest_checkpoint(tmp_path) == f"{tmp_path}/ckpt-{step}"


@pytest.mark.parametrize("content", [b"", b"\0\xff"])
def test_the_file_that_names_the_newest_is_not_needed(tmp_path, content):
    advance(*build(tmp_path), 1)
    (tmp_path / "checkpoint").write_bytes(content)
    assert build(tmp_path)[2].restore() == dict(steps=[0, 1])


def test_nothing_there_is_a_fresh_start(tmp_path):
    assert build(tmp_path / "none")[2].restore() is None


def test_other_fingerprints_are_refused_by_name(tmp_path):
    advance(*build(tmp_path), 1)
    with pytest.raises(InputError, match=r"another data \(a, now b\)"):
        build(tmp_path, fingerprints=dict(data="b"))[2].restore()


def damage(path, how):
    if how == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "other bytes":
        path.write_bytes(b"\xff" * path.stat().st_size)
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["cut", "empty", "other bytes", "missing"])
@pytest.mark.parametrize("pattern", ["ckpt-2.data*", "ckpt-2.index"])
def test_a_damaged_newest_one_falls_back(tmp_path, how, pattern):
    model, optimizer, checkpoints = build(tmp_path)
    for step in (1, 2):
        advance(model, optimizer, checkpoints, step)
    damage(next(tmp_path.glob(pattern)), how)
    (tmp_path / "checkpoint").unlink()
    restored = build(tmp_path)[2]
    assert restored.restore() == dict(steps=[0, 1])
    assert int(restored.step) == 1


def test_all_damaged_is_an_error(tmp_path):
    advance(*build(tmp_path), 1)
    damage(next(tmp_path.glob("ckpt-1.data*")), "cut")
    with pytest.raises(CorruptArtifactError, match="no checkpoint can be read"):
        build(tmp_path)[2].restore()


def test_another_architecture_under_the_same_fingerprints_is_not_restored(tmp_path):
    advance(*build(tmp_path), 1)
    with pytest.raises((ValueError, AssertionError)):
        build(tmp_path, units=5)[2].restore()


def write_as_version_0_1(directory, step, history):
    """Takes the history out of a checkpoint and writes it beside it, as version 0.1 did."""
    _, _, checkpoints = build(directory)
    checkpoints._state.read(f"{directory}/ckpt-{step}")
    checkpoints._state.write(f"{directory}/ckpt-{step}")
    (directory / f"history-{step}.json").write_text(history)


def test_checkpoints_of_version_0_1_are_read_and_damaged_history_falls_back(tmp_path):
    model, optimizer, checkpoints = build(tmp_path)
    for step in (1, 2):
        advance(model, optimizer, checkpoints, step)
    record = [dict(step=2, loss=0.5)]
    whole = json.dumps(dict(train=record, pending=dict(loss=1.0, images=3)))
    write_as_version_0_1(tmp_path, 2, whole)
    again = build(tmp_path)[2]
    assert again.restore()["train"] == record and int(again.step) == 2
    for junk in (
        whole.replace("step", "stop"),
        whole.replace("[{", "[["),
        whole[:-1],
        "[" * 100_000,
        whole.replace("0.5", "9" * 5000),
        "\udcff",
    ):
        (tmp_path / "history-2.json").write_bytes(junk.encode(errors="surrogateescape"))
        again = build(tmp_path)[2]
        assert again.restore() == dict(steps=[0, 1]) and int(again.step) == 1
    advance(model, optimizer, checkpoints, 3)
    advance(model, optimizer, checkpoints, 4)
    assert not list(tmp_path.glob("history-*"))


def test_no_bit_of_a_checkpoint_changes_the_history_silently(tmp_path):
    model, optimizer, checkpoints = build(tmp_path)
    for step in (1, 2):
        advance(model, optimizer, checkpoints, step)
    data = next(tmp_path.glob("ckpt-2.data*"))
    content = data.read_bytes()
    place = content.index(b"steps")
    for bit in range(0, 8 * 24, 7):
        damaged = bytearray(content)
        damaged[place + bit // 8] ^= 1 << bit % 8
        data.write_bytes(damaged)
        assert build(tmp_path)[2].restore() == dict(steps=[0, 1])

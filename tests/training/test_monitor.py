"""What a monitor tells of steps that take as long as a clock is set to; files are test_log's."""

import itertools

import keras
import pytest
import tensorflow as tf

from ccssl_tf.runs import progress, rate
from ccssl_tf.training import input_wait
from ccssl_tf.training.log import new_history
from ccssl_tf.training.loop_settings import LoopSettings
from ccssl_tf.training.monitor import Monitor


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    for module in (progress, rate, input_wait):
        monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def points(directory, tag):
    return [
        (event.step, float(tf.make_ndarray(value.tensor)))
        for path in sorted(directory.glob("train/events.*"))
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
        if value.tag == tag
    ]


def test_a_run_of_slow_steps(clock, tmp_path, capsys):
    """The first step compiles for a minute, the others take 2 s; half a second of these is waiting
    for data, and an evaluation comes in between.
    """
    history = new_history()
    model = keras.Sequential([keras.Input([2]), keras.layers.Dense(1)])
    settings = LoopSettings(train_steps=40, batch_size=8, log_steps=20, histogram_steps=40)
    monitor = Monitor(tmp_path, settings, history, model, lambda: 0.25, step=0)

    def batches():
        for number in itertools.count():
            clock[0] += 0.5
            yield number

    source, lines = batches(), []

    def run(number):
        clock[0] += 60 if number == 0 else 1.5

    for step in range(1, 41):
        monitor.step(step, source, run, lambda: None, begins_epoch=False)
        assert monitor.is_record(step) == (step in (20, 40))
        if monitor.is_due(step):
            monitor.tell(dict(loss=1 / step), step)
        monitor.tell_weights(step)
        if step == 10:
            monitor.look("evaluation", step, lambda: clock.__setitem__(0, clock[0] + 100) or {})
        lines += capsys.readouterr().out.splitlines()
    monitor.close()
    assert lines[0] == "train  1/40 steps  loss 1"
    # At the first line 5 s later the rate is known.
    assert (
        lines[1] == "train  4/40 steps  loss 0.25  input_wait_share 0.25  4 images/s  ETA 0:01:12"
    )
    assert lines[-1].endswith("4 images/s  ETA 0:00:00")
    assert history["train"] == [dict(loss=0.05, step=20), dict(loss=0.025, step=40)]
    assert monitor.timing() == dict(images_per_second=4.0, input_wait_share=0.25)
    assert points(tmp_path, "learning_rate") == [(20, 0.25), (40, 0.25)]
    assert points(tmp_path, "input_wait_share") == [(20, 0.25), (40, 0.25)]
    assert points(tmp_path, "images_per_second") == [(20, 4.0), (40, 4.0)]


def test_a_run_of_one_step_has_no_rate(tmp_path):
    settings = LoopSettings(train_steps=1, batch_size=8)
    monitor = Monitor(tmp_path, settings, new_history(), None, lambda: 0.1, step=0)
    monitor.step(1, iter([0]), lambda batch: None, lambda: None, begins_epoch=True)
    monitor.tell(dict(loss=1.0), 1)
    monitor.close()
    assert monitor.timing() == {}

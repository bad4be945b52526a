"""The clock and the records; the loop that uses them is tested in test_loop.py."""

import tensorflow as tf

from ccssl_tf.training import log as training_log


def test_the_rate_leaves_out_what_is_before_the_first_record_and_in_pauses(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(training_log.time, "monotonic", lambda: now[0])
    clock = training_log.Clock()
    now[0] += 50
    clock.tick(10)
    assert clock.rate == 0
    now[0] += 4
    with clock.paused():
        now[0] += 1000
    clock.tick(30)
    assert clock.rate == 5


def test_an_evaluation_is_written_and_printed(tmp_path, capsys):
    with tf.summary.create_file_writer(str(tmp_path)).as_default():
        training_log.report_evaluation(dict(loss=0.25), 7, 1.5)
        training_log.report_evaluation({}, 8, 0.1)
    assert capsys.readouterr().out == "evaluate  step 7  loss 0.25  (1.5 s)\n"
    (path,) = tmp_path.iterdir()
    events = [
        event for event in tf.compat.v1.train.summary_iterator(str(path)) if event.summary.value
    ]
    assert [(event.step, event.summary.value[0].tag) for event in events] == [
        (7, "evaluation/loss")
    ]

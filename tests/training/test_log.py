"""The records; the loop that writes them is tested in test_loop.py."""

import json

import tensorflow as tf

from ccssl_tf.training.log import Log, new_history

HEALTHY = dict(effective_rank=7.0, feature_std=0.5, feature_mean=1.0)


def lines(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_records_are_lines_points_and_history(tmp_path, capsys):
    history = new_history()
    log = Log(tmp_path, history)
    log.record("train", dict(loss=0.5), 6)
    log.look("evaluation", dict(loss=0.25), 6, 1.5)
    log.look("evaluation", {}, 8, 0.1)
    log.look("health", HEALTHY, 8, 0.2)
    log.board.close()
    assert capsys.readouterr().out == (
        "evaluate  step 6  loss 0.25  (1.5 s)\n"
        "health  step 8  effective_rank 7  feature_std 0.5  feature_mean 1  (0.2 s)\n"
    )
    assert history["train"] == [dict(loss=0.5, step=6)]
    assert history["evaluation"] == [dict(loss=0.25, step=6), dict(step=8)]
    assert lines(tmp_path) == [
        dict(group="train", step=6, loss=0.5),
        dict(group="evaluation", step=6, loss=0.25),
        dict(group="health", step=8, **HEALTHY),
    ]
    points = [
        (path.parent.name, value.tag, event.step, float(tf.make_ndarray(value.tensor)))
        for path in sorted(tmp_path.glob("tensorboard/*/events.*"))
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
    ]
    assert points == [
        ("held_out", "loss", 6, 0.25),
        *(("held_out", f"health/{name}", 8, value) for name, value in HEALTHY.items()),
        ("train", "loss", 6, 0.5),
    ]


def test_a_log_that_is_opened_again_has_the_lines_of_the_history(tmp_path):
    history = new_history()
    log = Log(tmp_path, history)
    for step in (2, 4, 6):
        log.record("train", dict(loss=1 / step), step)
        if step == 4:
            log.record("evaluation", dict(loss=0.3), step)
            kept = {group: list(records) for group, records in history.items()}
    whole = (tmp_path / "metrics.jsonl").read_bytes()
    # Killed in the middle of a line.
    (tmp_path / "metrics.jsonl").write_bytes(whole[:-3])
    again = Log(tmp_path, kept)
    assert lines(tmp_path) == [json.loads(line) for line in whole.splitlines()[:3]]
    again.record("train", dict(loss=1 / 6), 6)
    assert (tmp_path / "metrics.jsonl").read_bytes() == whole


def test_other_writers_get_what_tensorboard_gets(tmp_path):
    told = []

    class Writer:
        def scalars(self, curve, values, step):
            told.append((curve, dict(values), step))

    log = Log(tmp_path, new_history(), writers=[Writer()])
    log.record("train", dict(loss=0.5), 6)
    log.look("health", HEALTHY, 8, 0.2)
    log.scalars("train", dict(learning_rate=0.1), 8)
    health = {f"health/{name}": value for name, value in HEALTHY.items()}
    assert told == [
        ("train", dict(loss=0.5), 6),
        ("held_out", health, 8),
        ("train", dict(learning_rate=0.1), 8),
    ]


def test_collapsed_features_are_warned_of(tmp_path, capsys):
    log = Log(tmp_path, new_history())
    log.look("health", dict(HEALTHY, effective_rank=1.5), 8, 0.2)
    assert "\nWARNING: the features have collapsed at step 8: " in capsys.readouterr().out


def test_other_workers_write_nothing(tmp_path):
    log = Log(tmp_path, new_history(), writes=False)
    log.record("train", dict(loss=1.0), 1)
    log.board.close()
    assert not list(tmp_path.iterdir())

"""Which steps are profiled."""

import pytest
import tensorflow as tf

from ccssl_tf.training.profiling import Profile


@pytest.fixture
def calls(monkeypatch):
    made = []
    monkeypatch.setattr(tf.profiler.experimental, "start", lambda path: made.append(path))
    monkeypatch.setattr(tf.profiler.experimental, "stop", lambda: made.append("stop"))
    return made


def run(profile, steps, calls):
    for step in steps:
        profile.before(step)
        calls.append(step)
        profile.after(step, lambda: calls.append("finished"))
    profile.close()


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (range(1, 7), [1, 2, "start", 3, 4, "finished", "stop", 5, 6]),
        (range(4, 7), ["start", 4, "finished", "stop", 5, 6]),
        (range(1, 4), [1, 2, "start", 3, "stop"]),
        (range(5, 7), [5, 6]),
    ],
    ids=["whole", "resumed", "interrupted", "later"],
)
def test_the_steps_between_are_profiled(tmp_path, calls, steps, expected):
    run(Profile((3, 4), tmp_path), steps, calls)
    start = str(tmp_path)
    assert calls == [start if call == "start" else call for call in expected]


def test_none_are_profiled_unless_it_is_asked_for(tmp_path, calls):
    run(Profile((), tmp_path), range(3), calls)
    assert calls == [0, 1, 2]


def test_a_profile_is_written(tmp_path):
    profile = Profile((1, 1), tmp_path)
    profile.before(1)
    tf.reduce_sum(tf.ones([3]))
    profile.after(1, lambda: None)
    assert list(tmp_path.glob("plugins/profile/*/*.xplane.pb"))

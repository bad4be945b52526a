"""Rates by a clock that is set by hand."""

import pytest

from ccssl_tf.runs import rate as rate_lib
from ccssl_tf.runs.rate import Rate


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(rate_lib.time, "monotonic", lambda: now[0])
    return now


def test_the_rate_leaves_out_what_is_before_the_first_tick_and_in_pauses(clock):
    rate = Rate()
    with rate.paused():
        clock[0] += 50
    assert not rate.has_begun
    rate.tick(10)
    assert rate.has_begun and rate.overall == rate.recent == 0 and rate.seconds_left(5) is None
    clock[0] += 4
    with rate.paused():
        clock[0] += 1000
    rate.tick(30)
    assert rate.overall == rate.recent == 5


def test_the_recent_rate_follows_a_change_and_the_overall_one_does_not(clock):
    rate = Rate()
    done = 0
    for step in range(2000):
        rate.tick(done)
        done += 1 if step < 1000 else 4
        clock[0] += 0.1
    assert rate.recent == pytest.approx(40)
    assert rate.overall == pytest.approx(25, rel=1e-2)
    assert rate.seconds_left(400) == pytest.approx(10)
    assert len(rate._marks) < 40


def test_of_rare_ticks_the_last_two_count(clock):
    rate = Rate()
    for seconds, done in ((0, 0), (100, 10), (100, 30)):
        clock[0] += seconds
        rate.tick(done)
    assert rate.recent == pytest.approx(0.2) and rate.overall == pytest.approx(0.15)


def test_the_time_left_has_its_share_of_pauses(clock):
    rate = Rate()
    rate.tick(0)
    clock[0] += 10
    with rate.paused():
        clock[0] += 5
    rate.tick(10)
    assert rate.seconds_left(20) == pytest.approx(30)

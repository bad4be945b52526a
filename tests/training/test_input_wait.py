"""The share of waiting, by a clock that the batches and the device set."""

import itertools

import pytest

from ccssl_tf.training import input_wait
from ccssl_tf.training.input_wait import InputWait


class Device:
    """Does steps of `seconds` one after the other while its host goes on, as a GPU does."""

    def __init__(self, now, seconds):
        self.now, self.seconds, self.free_at = now, seconds, 0.0

    def run(self, batch):
        self.free_at = max(self.free_at, self.now[0]) + self.seconds

    def finish(self):
        self.now[0] = max(self.now[0], self.free_at)


def batches(now, seconds, ahead=4):
    """Takes `seconds` a batch, up to `ahead` of which wait."""
    ready = [0.0]
    for number in itertools.count():
        ready.append(max(ready[-1], ready[max(number - ahead, 0)]) + seconds)
        now[0] = max(now[0], ready[-1])
        yield number


@pytest.mark.parametrize(
    ("compute", "data", "share"), [(1.0, 0.9, 0.0), (1.0, 1.25, 0.2), (0.1, 1.0, 0.9)]
)
def test_a_device_that_still_works_does_not_wait(monkeypatch, compute, data, share):
    now = [0.0]
    monkeypatch.setattr(input_wait.time, "monotonic", lambda: now[0])
    device, wait, source = Device(now, compute), InputWait(), batches(now, data)
    assert wait.recent is None and wait.overall is None
    for _ in range(1000):
        wait.step(source, device.run, device.finish, begins_epoch=False)
    assert wait.overall == pytest.approx(share, abs=0.03)
    assert wait.recent == pytest.approx(share, abs=0.03)


def test_the_first_batch_of_an_epoch_counts_for_itself_alone(monkeypatch):
    """The first of 20 batches takes 5 s, the others none; a step takes 1 s."""
    now, wait = [0.0], InputWait()
    monkeypatch.setattr(input_wait.time, "monotonic", lambda: now[0])

    def waited_for():
        for number in itertools.count():
            now[0] += 5 if number % 20 == 0 else 0
            yield number

    source = waited_for()
    for number in range(2000):
        wait.step(
            source,
            lambda batch: now.__setitem__(0, now[0] + 1),
            lambda: None,
            begins_epoch=number % 20 == 0,
        )
    assert wait.overall == pytest.approx(5 / 25, abs=0.02)


def test_every_batch_is_run_once_and_in_order():
    seen = []
    source, wait = iter(range(50)), InputWait()
    for _ in range(50):
        wait.step(source, seen.append, lambda: None, begins_epoch=False)
    assert seen == list(range(50))

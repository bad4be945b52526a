"""The pool passes errors on, counts, and leaves no process behind."""

import multiprocessing
import os
import signal
import time

import pytest

from ccssl_tf.runs.errors import FlagError, Interrupted
from data_prep import worker_pool
from data_prep.worker_pool import WorkersSettings


def _kill_self(seconds):
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


def _counter():
    return multiprocessing.get_context("spawn").Value("q", 0)


def test_the_number_of_processes_can_be_set():
    assert 1 <= WorkersSettings().num_processes <= os.cpu_count()
    assert WorkersSettings(num_workers=7).num_processes == 7
    with pytest.raises(FlagError, match="^--num_workers=-1: "):
        WorkersSettings(num_workers=-1)


def test_a_killed_process_is_an_interruption():
    swept = []
    pool_of_one = worker_pool.open_pool(1, _counter(), on_failure=lambda: swept.append(True))
    with pytest.raises(Interrupted, match="a process was killed"), pool_of_one as pool:
        list(worker_pool.completed([pool.submit(_kill_self, 0)], lambda: False))
    assert swept == [True]


def test_being_stopped_ends_the_processes_at_once():
    others = set(multiprocessing.active_children())
    with pytest.raises(Interrupted, match="stopped"), worker_pool.open_pool(2, _counter()) as pool:
        assert list(worker_pool.completed([pool.submit(abs, -3)], lambda: False)) == [3]
        list(worker_pool.completed([pool.submit(time.sleep, 60)], lambda: True))
    assert set(multiprocessing.active_children()) <= others

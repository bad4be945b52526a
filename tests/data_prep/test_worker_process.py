"""A worker counts what it does, and only there."""

import multiprocessing
import os

import pytest

from data_prep import worker_pool, worker_process


def _count(times):
    for _ in range(times):
        worker_process.count_up()
    return os.environ["CUDA_VISIBLE_DEVICES"], os.environ["TF_NUM_INTRAOP_THREADS"]


@pytest.fixture(scope="module")
def counted():
    """What two workers counted and saw of their environment."""
    counter = multiprocessing.get_context("spawn").Value("q", 0)
    with worker_pool.open_pool(2, counter) as pool:
        seen = list(worker_pool.completed([pool.submit(_count, n) for n in (3, 4)], lambda: False))
    return counter.value, seen


def test_workers_share_a_counter_and_have_one_thread(counted):
    assert counted == (7, [("-1", "1")] * 2)


def test_another_process_counts_nothing():
    worker_process.count_up()
    assert worker_process._counter is None

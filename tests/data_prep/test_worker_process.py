"""A worker counts what it does, and only there."""

import multiprocessing
import os

from data_prep import worker_pool, worker_process


def test_workers_share_a_counter_and_have_one_thread():
    counter = multiprocessing.get_context("spawn").Value("q", 0)
    with worker_pool.open_pool(2, counter) as pool:
        variables = ("CUDA_VISIBLE_DEVICES", "TF_NUM_INTRAOP_THREADS")
        tasks = [pool.submit(os.getenv, name) for name in variables]
        tasks += [pool.submit(worker_process.count_up) for _ in range(7)]
        seen = list(worker_pool.completed(tasks, lambda: False))
    assert sorted(filter(None, seen)) == ["-1", "1"]
    assert counter.value == 7


def test_another_process_counts_nothing():
    worker_process.count_up()
    assert worker_process._counter is None

import threading

import numpy as np
import pytest
import threadpoolctl

from ccssl_tf.clustering.host.block_threads import (
    WORK_BYTES_A_CORE,
    BlockThreads,
    block_rows,
    blocks,
    chunk_rows,
    parts,
)


def test_every_part_is_worked_on_once_in_memory_of_its_thread():
    threads, done, memories = (
        BlockThreads(5, lambda: None, rows=8, centroids=3),
        np.zeros(100, int),
        {},
    )

    def work(index):
        done[index] += 1
        memories.setdefault(threading.get_ident(), set()).add(
            (id(threads.memory.rows), id(threads.memory.centroids))
        )

    threads.run(work, parts(np.arange(100), 8))
    assert (done == 1).all()
    assert threads.memory.rows.first(8).shape == (8, 5) and threads.memory.centroids.first(
        3
    ).shape == (3, 5)
    assert all(len(used) == 1 for used in memories.values())
    assert len(set.union(*memories.values())) == len(memories)
    assert id(threads.memory.rows) not in {rows for used in memories.values() for rows, _ in used}


@pytest.mark.parametrize("size", [1, 3, 10, 11])
def test_parts_and_blocks_are_all_rows_once(size):
    for pieces in (parts(np.arange(10), size), blocks(10, size)):
        numbers = [np.arange(10)[piece].tolist() for (piece,) in pieces]
        assert sum(numbers, []) == list(range(10))
        assert all(len(piece) == size for piece in numbers[:-1])
    assert parts(np.arange(0), size) == blocks(0, size) == []


def test_errors_and_stops_come_out():
    def fail(index):
        raise ValueError(str(index[0]))

    with pytest.raises(ValueError, match="0"):
        BlockThreads(5, lambda: None, rows=8, centroids=3).run(fail, parts(np.arange(20), 8))

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        BlockThreads(5, stop, rows=8, centroids=3).run(lambda index: None, parts(np.arange(20), 8))


def test_products_stay_in_their_thread_only_inside_the_context():
    def counts():
        return [
            pool["num_threads"]
            for pool in threadpoolctl.threadpool_info()
            if pool["user_api"] == "blas"
        ]

    threads, before = BlockThreads(5, lambda: None, rows=8, centroids=3), counts()
    with threads.one_product_each():
        assert set(counts()) <= {1}
    assert counts() == before


@pytest.mark.parametrize(
    "num_examples, dim, num_clusters, rows",
    [
        (1, 4, 3, 1),
        (15_000, 4800, 1000, 1888),
        (1_281_167, 9600, 2000, 1104),
        (10**6, 4, 10**6, 10),
        (1000, 10**8, 10, 1),
    ],
)
def test_blocks_are_equal_and_fit_their_bytes(num_examples, dim, num_clusters, rows):
    assert block_rows(num_examples, dim, num_clusters) == rows
    # They are rounded up to whole tiles of 16 rows.
    assert rows == 1 or 4 * (rows - 16) * max(dim, num_clusters) <= WORK_BYTES_A_CORE / 8


@pytest.mark.parametrize("cores", [1, 2, 64])
def test_blocks_are_the_same_on_any_number_of_cores(cores, monkeypatch):
    monkeypatch.setattr("ccssl_tf.runs.machine.num_cores", lambda: cores)
    assert block_rows(15_000, 4800, 1000) == 1888


def test_chunks_have_a_block_for_every_core(monkeypatch):
    rows = block_rows(15_000, 4800, 1000)
    for cores in (1, 2, 64):
        monkeypatch.setattr("ccssl_tf.runs.machine.num_cores", lambda cores=cores: cores)
        assert chunk_rows(15_000, 4800, 1000) == cores * rows

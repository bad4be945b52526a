"""Work on blocks of rows in as many threads as there are cores, each with memory for copies.

The numbers of rows of a block depend on N, D and K alone, not on the machine: they decide how
products are rounded.
"""

import concurrent.futures
import contextlib
import functools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import threadpoolctl

from ccssl_tf.clustering.rows.row_copies import Gathered
from ccssl_tf.runs import machine

# Bytes that a block's rows may take, and its scores as well: enough for a fast matrix product.
_BLOCK_BYTES = 40 << 20
_MAX_BLOCK_ROWS = 2048
# The blocks of a pass are a multiple of this number, whatever cores there are: as many for each
# of 2, 4 or 8 threads.
_THREADS = 8
# A matrix product computes tiles of so many rows; a tile that is not full takes as long as a full
# one.
_TILE_ROWS = 16
# Bytes that a pass takes for each core beside the rows that are kept: of the chunks that are read,
# wait and are worked on, a block each, and the block's copy and scores.
WORK_BYTES_A_CORE = 8 * _BLOCK_BYTES


class BlockThreads:
    """A pool of threads.

    Attributes:
      num_rows: name -> number of rows of the memory with that name.
      memory: the memory of the thread that asks, a `Gathered` under each name. Beside those of the
        pool, the thread that made this object has some.
    """

    def __init__(self, dim: int, check_stop: Callable[[], None], **num_rows: int):
        """Starts no thread yet.

        Args:
          dim: D of the rows.
          check_stop: called before each block; may raise.
          **num_rows: see the class.
        """
        self.num_rows, self.memory = num_rows, threading.local()
        self._check_stop, self._blas = check_stop, threadpoolctl.ThreadpoolController()
        # The threads get a function that does not know this object: else they and all that it
        # refers to would keep each other alive for ever.
        start = functools.partial(_take_memory, self.memory, dim, num_rows)
        self._pool = concurrent.futures.ThreadPoolExecutor(machine.num_cores(), initializer=start)
        start()

    def run(self, function: Callable, parts: list[tuple], *, can_stop: bool = True) -> list:
        """Returns [function(*part) for all parts], and raises the first error."""
        return self.start(function, parts, can_stop=can_stop)()

    def start(
        self, function: Callable, parts: list[tuple], *, can_stop: bool = True
    ) -> Callable[[], list]:
        """Begins what `run` does and returns a function that waits for its result."""

        def call(part: tuple) -> Any:
            if can_stop:
                self._check_stop()
            return function(*part)

        return functools.partial(list, self._pool.map(call, parts))

    def one_product_each(self) -> contextlib.AbstractContextManager:
        """Returns a context in which each matrix product is computed by the thread that asks.

        That is the fastest way where every thread has a product to compute.
        """
        return self._blas.limit(limits=1, user_api="blas")


def _take_memory(memory: threading.local, dim: int, num_rows: dict[str, int]) -> None:
    for name, count in num_rows.items():
        setattr(memory, name, Gathered(count, dim))


def parts(index: np.ndarray, size: int) -> list[tuple[np.ndarray]]:
    """Returns the index [n] cut into pieces of `size`, the last one smaller, each in a tuple."""
    return [(index[at : at + size],) for at in range(0, len(index), size)]


def blocks(num_rows: int, size: int) -> list[tuple[slice]]:
    """Returns slices of `size` rows, the last one smaller, each in a tuple."""
    return [(slice(at, min(at + size, num_rows)),) for at in range(0, num_rows, size)]


def block_rows(num_examples: int, dim: int, num_clusters: int) -> int:
    """Returns how many of N rows are a block: blocks of about equal size, as few as possible."""
    max_rows = int(np.clip(_BLOCK_BYTES // (4 * max(dim, num_clusters)), 1, _MAX_BLOCK_ROWS))
    rounds = -(-num_examples // (_THREADS * max_rows))
    rows = -(-num_examples // (_THREADS * rounds))
    return rows if rows < _TILE_ROWS else -(-rows // _TILE_ROWS) * _TILE_ROWS


def chunk_rows(num_examples: int, dim: int, num_clusters: int) -> int:
    """Returns how many rows a reader of N rows reads together: a block for every core."""
    return machine.num_cores() * block_rows(num_examples, dim, num_clusters)

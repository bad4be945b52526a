"""Work on blocks of rows in as many threads as there are cores, each with memory of its own for copies."""

import concurrent.futures
import functools
import threading

import threadpoolctl

from ccssl_tf import runtime
from ccssl_tf.clustering.distances import Gathered


class BlockThreads:
    """A pool of threads; the thread that made it has such memory, too.

    Attributes:
      block_rows: most rows of a block.
    """

    def __init__(self, block_rows: int, num_clusters: int, dim: int, check_stop):
        """Args: block_rows: most rows of a block; num_clusters: K; dim: D; check_stop: called before each block; may raise."""
        self.block_rows = block_rows
        self._check_stop, self._memory, self._blas = check_stop, threading.local(), threadpoolctl.ThreadpoolController()
        # What threads run must not know this object: they would keep each other, and all it knows, for ever.
        start = functools.partial(_take_memory, self._memory, block_rows, num_clusters, dim)
        self._pool = concurrent.futures.ThreadPoolExecutor(runtime.num_cores(), initializer=start)
        start()

    @property
    def rows(self) -> Gathered:
        """This thread's memory for rows of a block."""
        return self._memory.rows

    @property
    def centroids(self) -> Gathered:
        """This thread's memory for centroids."""
        return self._memory.centroids

    def run(self, function, parts, *, can_stop=True):
        """Returns [function(*part) for all parts]; raises the first error."""
        return self.start(function, parts, can_stop=can_stop)()

    def start(self, function, parts, *, can_stop=True):
        """Returns a function that waits for what `run` returns."""

        def call(part):
            if can_stop:
                self._check_stop()
            return function(*part)

        return functools.partial(list, self._pool.map(call, parts))

    def one_product_each(self):
        """A context in which a matrix product stays in its thread: the fastest way where every thread has one."""
        return self._blas.limit(limits=1, user_api="blas")


def _take_memory(memory, block_rows, num_clusters, dim):
    memory.rows, memory.centroids = Gathered(block_rows, dim), Gathered(num_clusters, dim)


def parts(index, size: int) -> list[tuple]:
    """Returns the index [n] cut into (index [<= size],)."""
    return [(index[at : at + size],) for at in range(0, len(index), size)]

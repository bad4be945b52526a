"""Work on blocks of rows in as many threads as there are cores, each with memory of its own for
copies.
"""

import concurrent.futures
import functools
import threading

import threadpoolctl

from ccssl_tf.clustering.distances import Gathered
from ccssl_tf.runs import machine


class BlockThreads:
    """A pool of threads; the thread that made it has such memory, too.

    Attributes:
      num_rows: name -> rows of memory.
      memory: this thread's, a `Gathered` under each name.
    """

    def __init__(self, dim: int, check_stop, **num_rows: int):
        """Args: dim: D; check_stop: called before each block; may raise; num_rows: see above."""
        self.num_rows, self.memory = num_rows, threading.local()
        self._check_stop, self._blas = check_stop, threadpoolctl.ThreadpoolController()
        # What threads run must not know this object: they would keep each other, and all it knows,
        # for ever.
        start = functools.partial(_take_memory, self.memory, dim, num_rows)
        self._pool = concurrent.futures.ThreadPoolExecutor(machine.num_cores(), initializer=start)
        start()

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
        """A context in which a matrix product stays in its thread: the fastest way where every
        thread has one.
        """
        return self._blas.limit(limits=1, user_api="blas")


def _take_memory(memory, dim, num_rows):
    for name, count in num_rows.items():
        setattr(memory, name, Gathered(count, dim))


def parts(index, size: int) -> list[tuple]:
    """Returns the index [n] cut into (index [<= size],)."""
    return [(index[at : at + size],) for at in range(0, len(index), size)]

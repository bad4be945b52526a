"""The process of a worker: it dies with its parent, counts what it has done, and computes with one
thread.
"""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading

from ccssl_tf.runs import machine
from ccssl_tf.runs.errors import Interrupted

_counter = None


def start(counter):
    """Initialises a worker process.

    Args:
      counter: shared counter of finished items, for `count_up`.
    """
    global _counter
    _counter = counter
    # Ctrl-C reaches the whole group of processes; the parent decides what comes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    start_tensorflow()


def start_tensorflow():
    """Imports TensorFlow for one conversion at a time in this process."""
    # One process per core already: threads would only fight. A GPU would be claimed for nothing.
    os.environ.update(
        TF_NUM_INTRAOP_THREADS="1",
        TF_NUM_INTEROP_THREADS="1",
        OMP_NUM_THREADS="1",
        CUDA_VISIBLE_DEVICES="-1",
    )
    machine.quiet_tensorflow()


def count_up():
    """Counts one more finished item; does nothing in a process that `start` did not begin, such as
    one of Beam's.
    """
    if _counter is not None:
        with _counter.get_lock():
            _counter.value += 1


def _die_with_parent():
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(Interrupted.exit_code)

"""A pool of processes that die with their parent, and the results as they come."""

import concurrent.futures
import contextlib
import dataclasses
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool

from ccssl_tf.runs import machine
from ccssl_tf.runs.errors import Interrupted
from ccssl_tf.runs.settings import Settings, setting
from data_prep import worker_process


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkersSettings(Settings):
    """Processes that share the work."""

    num_workers: int = setting(0, "Processes; 0 is one per core.", minimum=0, maximum=1024)

    @property
    def num_processes(self) -> int:
        """`num_workers`, or the cores this process may use."""
        return self.num_workers or machine.num_cores()


@contextlib.contextmanager
def open_pool(
    num_processes: int, counter, *, on_failure: Callable[[], None] = lambda: None
) -> Iterator[concurrent.futures.ProcessPoolExecutor]:
    """Yields a pool of spawned processes; when the body fails they are killed.

    Args:
      num_processes: how many.
      counter: shared counter of finished items, for `worker_process.count_up`.
      on_failure: called once the processes are gone.

    Raises:
      Interrupted: a process was killed from outside.
    """
    others = set(multiprocessing.active_children())
    pool = concurrent.futures.ProcessPoolExecutor(
        num_processes,
        multiprocessing.get_context("spawn"),
        initializer=worker_process.start,
        initargs=(counter,),
    )
    try:
        yield pool
        pool.shutdown()
    except BaseException as error:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - others:
            child.kill()
            child.join()
        on_failure()
        if isinstance(error, BrokenProcessPool):
            raise Interrupted(
                "a process was killed, maybe for memory; the same command continues, perhaps with "
                "a smaller --num_workers"
            ) from error
        raise


def completed(
    futures: Iterable[concurrent.futures.Future],
    stopped: Callable[[], bool],
    report: Callable[[], None] = lambda: None,
) -> Iterator:
    """Yields results as they come, calling `report` meanwhile; raises the first error, or
    Interrupted once `stopped()`.
    """
    pending = set(futures)
    while pending:
        done, pending = concurrent.futures.wait(
            pending, timeout=0.2, return_when=concurrent.futures.FIRST_COMPLETED
        )
        if stopped():
            raise Interrupted("stopped; finished shards are kept and the same command continues")
        report()
        for future in done:
            yield future.result()

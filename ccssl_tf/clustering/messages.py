"""What k-means tells while it works: messages of Python's logging, which `verbose` prints."""

import contextlib
import logging
from collections.abc import Iterator

LOGGER = logging.getLogger("ccssl_tf.kmeans")


class _Printer(logging.Handler):
    """Prints messages as lines, wherever `print` goes at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one."""
        is_warning = record.levelno >= logging.WARNING
        print(f"{'warning: ' if is_warning else 'k-means  '}{record.getMessage()}", flush=True)


@contextlib.contextmanager
def printed(verbose: bool) -> Iterator[None]:
    """Prints what is told meanwhile; without `verbose` all is left to logging, which shows warnings
    alone unless a program asks for more.

        >>> with printed(True):
        ...     LOGGER.info("pass 1")
        k-means  pass 1
    """
    if not verbose:
        yield
        return
    printer, level, propagates = _Printer(), LOGGER.level, LOGGER.propagate
    LOGGER.addHandler(printer)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    try:
        yield
    finally:
        LOGGER.removeHandler(printer)
        LOGGER.setLevel(level)
        LOGGER.propagate = propagates

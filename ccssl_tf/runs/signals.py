"""What SIGTERM and SIGINT do while a command works."""

import contextlib
import os
import signal

from ccssl_tf.runs.errors import Interrupted


@contextlib.contextmanager
def _handled_by(handler):
    previous = {
        number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


@contextlib.contextmanager
def interrupted_by_signal():
    """Lets SIGTERM and SIGINT end what is done inside where it is, with Interrupted: for work that
    is done again from its beginning.
    """
    try:
        with _handled_by(signal.default_int_handler):
            yield
    except KeyboardInterrupt as error:
        raise Interrupted("stopped by a signal; the same command continues where it was") from error


@contextlib.contextmanager
def stop_on_signal():
    """Yields a function that tells whether SIGTERM or SIGINT has arrived; a second signal ends the
    process at once.
    """
    received: list[int] = []

    def handle(number, unused_frame):
        if received:
            os._exit(Interrupted.exit_code)
        received.append(number)

    with _handled_by(handle):
        yield lambda: bool(received)

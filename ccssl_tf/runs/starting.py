"""Signals while a command starts: its imports take seconds, in which nothing is lost."""

import os
import signal
import sys

from ccssl_tf.runs.errors import Interrupted

_PACKAGES = ("ccssl_tf", "data_prep")


def exit_on_signals():
    """Lets SIGINT and SIGTERM end this process quietly until `launch` handles them itself."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *unused: os._exit(Interrupted.exit_code))


def is_command() -> bool:
    """Whether this process was started to run one of the commands, and not to import them."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return spec is not None and spec.name.partition(".")[0] in _PACKAGES

"""Signals: noticed, passed on as errors, and handled as before afterwards."""

import os
import signal
import subprocess
import sys

import pytest

from ccssl_tf.runs import signals
from ccssl_tf.runs.errors import Interrupted

NUMBERS = (signal.SIGTERM, signal.SIGINT)


def handlers():
    return [signal.getsignal(number) for number in NUMBERS]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_is_noticed_and_handlers_are_put_back(number):
    before = handlers()
    with signals.stop_on_signal() as stopped:
        assert not stopped()
        os.kill(os.getpid(), number)
        assert stopped()
    assert handlers() == before


@pytest.mark.parametrize("number", NUMBERS)
def test_work_that_is_done_again_ends_where_it_is(number):
    before, done = handlers(), []
    again = pytest.raises(Interrupted, match="the same command continues where it was")
    with signals.stop_on_signal() as stopped:
        with again, signals.interrupted_by_signal():
            done.append("begun")
            os.kill(os.getpid(), number)
            for _ in range(10**9):
                pass
            done.append("ended in spite of the signal")
        assert done == ["begun"] and not stopped()
        os.kill(os.getpid(), number)
        assert stopped(), "outside it is noticed as before"
    assert handlers() == before


def test_handlers_are_put_back_after_an_error():
    before = handlers()
    for manager in (signals.stop_on_signal, signals.interrupted_by_signal):
        with pytest.raises(ZeroDivisionError), manager():
            raise ZeroDivisionError
        assert handlers() == before


def test_a_second_signal_ends_the_process_at_once():
    script = (
        "import os, signal, atexit; from ccssl_tf.runs import signals\n"
        "atexit.register(print, 'left in peace')\n"
        "with signals.stop_on_signal() as stopped:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('first', stopped(), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('second', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (75, "first True\n", "")

"""A signal while a command imports ends it quietly with the documented code."""

import pathlib
import signal
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "words", [("-m", "ccssl_tf.train"), ("-m", "ccssl_tf", "data_prep.imagenet")]
)
def test_a_signal_during_imports(words, number):
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # Each import is told when it has ended; that of the handler is one of the first.
    for line in process.stderr:
        if line.rstrip().endswith("ccssl_tf.runs"):
            break
    process.send_signal(number)
    output, errors = process.communicate(timeout=120)
    told = [line for line in errors.splitlines() if not line.startswith("import time:")]
    assert (process.returncode, output, told) == (75, "", [])


def test_importing_the_package_leaves_signals_alone():
    code = (
        "import signal; before = signal.getsignal(signal.SIGINT); import ccssl_tf.runs.launch; "
        "print(signal.getsignal(signal.SIGINT) is before)"
    )
    output = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True)
    assert output == "True\n"

"""Whatever a file is called, what a terminal is given is a printable line."""

import io
import os
import subprocess
import sys

import pytest

from ccssl_tf.runs.printable_text import ERASE, PrintableText, escaped

PRINTING = """
import sys
from ccssl_tf.runs.printable_text import ensure_utf8_names, print_safely
ensure_utf8_names()
print_safely()
print("caf\\u00e9", sys.argv[1], "\\udce9 \\x1b[31m", sys.getfilesystemencoding())
print("errors \\udcff", file=sys.stderr)
"""


@pytest.mark.parametrize(
    "text, shown",
    [
        ("two words\n", "two words\n"),
        ("a\tb", "a\tb"),
        ("é 図", "é 図"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("over\rwritten", "over\\rwritten"),
        ("caf\udce9", "caf\\udce9"),
        ("left\u202eright", "left\\u202eright"),
        ("nul\0", "nul\\x00"),
    ],
)
def test_what_cannot_be_printed_is_its_escape(text, shown):
    assert escaped(text) == shown


def written(*texts):
    stream = PrintableText(io.BytesIO(), "utf-8", errors="backslashreplace", newline="")
    for text in texts:
        assert stream.write(text) == len(text)
    stream.flush()
    return stream.buffer.getvalue().decode()


def test_live_lines_stay_what_they_are():
    live = f"{ERASE}train  3/5 steps\r"
    bar = "\r\x1b[1m3/5\x1b[0m"
    assert written(live, bar, "\b\b12%") == f"{live}{bar}\b\b12%"
    assert written(f"{ERASE}a\x1b[2Kb\rc\r") == f"{ERASE}a\\x1b[2Kb\\rc\r"


@pytest.mark.parametrize(
    "environment, name",
    [
        (dict(LC_ALL="C.UTF-8", PYTHONIOENCODING="utf-8:strict"), "café ü"),
        (dict(LC_ALL="C"), "café ü"),
        (dict(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"), "caf\\xe9 \\xfc"),
    ],
    ids=["strict UTF-8", "C", "ASCII"],
)
def test_names_are_utf8_under_every_locale_and_the_terminal_gets_what_it_knows(environment, name):
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "PYTH"))}
    kept["PYTHONPATH"] = os.getcwd()
    process = subprocess.run(
        [sys.executable, "-c", PRINTING, "ü"], capture_output=True, env=kept | environment
    )
    assert process.stdout.decode() == f"{name} \\udce9 \\x1b[31m utf-8\n"
    assert process.stderr.decode() == "errors \\udcff\n"

"""The index of the faults names tests that are there."""

import pathlib
import re

TESTS = pathlib.Path(__file__).resolve().parent.parent
ROWS = [
    line.strip("|").split("|")
    for line in (TESTS / "faults" / "README.md").read_text().splitlines()
    if line.startswith("| ")
][1:]


def test_every_row_names_tests_that_are_there_or_says_that_none_is():
    assert len(ROWS) == 42
    missing = []
    for fault, named in ROWS:
        # `a/test_b.py::c`, `::d` are two tests of one file.
        path = None
        for word in re.findall(r"`([^`]+)`", named):
            file, _, name = word.partition("::")
            path = TESTS / file if file else path
            if (
                path is None
                or not path.is_file()
                or name
                and f"def test_{name}(" not in path.read_text()
            ):
                missing.append((fault.strip(), word))
        assert path is not None or "-" in named, fault
    assert missing == []

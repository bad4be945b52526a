"""Lines of progress: when they come and what they say."""

import io
import os
import sys

import pytest

from ccssl_tf.runs import progress
from ccssl_tf.runs.progress import Progress, print_line


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_progress_lines(clock, capsys):
    lines = Progress("train", 100, "steps", done=20, interval=5)
    clock[0] += 4
    lines.update(30)
    assert capsys.readouterr().out == ""
    clock[0] += 1
    values = dict(loss=1.23456, accuracy=0.5)
    lines.update(40, values, rate_scale=64, rate_unit="images")
    # 20 steps in 5 s are 4 a second, 256 images; 60 steps are left.
    assert (
        capsys.readouterr().out
        == "train  40/100 steps  loss 1.235  accuracy 0.5  256 images/s  ETA 0:00:15\n"
    )
    clock[0] += 1
    lines.update(50)
    assert capsys.readouterr().out == ""
    lines.update(50, force=True)
    assert capsys.readouterr().out == "train  50/100 steps  5 steps/s  ETA 0:00:10\n"
    lines.update(100)
    assert capsys.readouterr().out.endswith("ETA 0:00:00\n")


def test_the_time_left_is_that_of_the_last_half_minute_and_counts_hours(clock, capsys):
    lines = Progress("train", 1_000_000, "steps", interval=5)
    for step in range(1, 201):
        clock[0] += 0.1 if step <= 100 else 2
        lines.update(step)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "train  200/1000000 steps  0.5 steps/s  ETA 555:26:40"


def test_progress_without_any_yet_knows_no_end(clock, capsys):
    Progress("copy", 10, "files").update(0, force=True)
    assert capsys.readouterr().out == "copy  0/10 files\n"


def test_what_starts_is_told_once_and_takes_no_time_of_the_units(clock, capsys):
    lines = Progress("converting", 100, "images", done=10, starting="workers")
    for _ in range(60):
        lines.update(10)
        clock[0] += 1
    assert capsys.readouterr().out == "converting  starting workers ...\n"
    assert lines.is_due(11)
    lines.update(20)
    assert capsys.readouterr().out == "converting  20/100 images\n"
    clock[0] += 5
    lines.update(30)
    assert capsys.readouterr().out == "converting  30/100 images  2 images/s  ETA 0:00:35\n"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_it_is_one_line(clock, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(progress.shutil, "get_terminal_size", lambda: os.terminal_size((20, 9)))
    monkeypatch.setenv("TERM", "xterm")
    lines = Progress("train", 3, "steps", interval=5)
    for step in (1, 2):
        clock[0] += 1
        lines.update(step)
    print_line("evaluate")
    clock[0] += 0.5
    lines.update(3)
    erase = "\x1b[2K"
    assert terminal.getvalue() == (
        f"{erase}train  1/3 steps  1\r{erase}train  2/3 steps  1\r{erase}evaluate\n"
        f"{erase}train  3/3 steps  1.2 steps/s  ETA 0:00:00\n"
    )
    monkeypatch.setenv("TERM", "dumb")
    print_line("end")
    assert terminal.getvalue().endswith("\nend\n")

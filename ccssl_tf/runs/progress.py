"""Progress with rate and time left: a line now and then, on a terminal one line that changes."""

import os
import shutil
import sys
import time
import typing
from collections.abc import Mapping

from ccssl_tf.runs.printable_text import ERASE
from ccssl_tf.runs.rate import Rate

_LIVE_SECONDS = 1.0


def is_terminal(stream: typing.TextIO) -> bool:
    """Whether lines written to `stream` can be erased again."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def print_line(text: str, stream: typing.TextIO | None = None):
    """Prints a line that stays, in the place of a live line where there is one."""
    stream = stream or sys.stdout
    print((ERASE if is_terminal(stream) else "") + text, file=stream, flush=True)


class Progress:
    """Prints `label  done/total unit  values  rate  ETA` at most every `interval` seconds, and at
    the end. On a terminal it is one line, which a longer one that somebody else prints replaces.

    Attributes:
      rate: of the units, its pauses known to nobody but the caller.
    """

    def __init__(
        self,
        label: str,
        total: int,
        unit: str,
        *,
        done: int = 0,
        interval: float = 5.0,
        starting: str | None = None,
    ):
        """Starts the clock.

        Args:
          label: first word of the lines.
          total: units to be done in all.
          unit: their name.
          done: units done before.
          interval: seconds between two lines; on a terminal there is one every second.
          starting: what has to start before the first unit, such as "workers". That it does is told
            once, and its time is not that of the units.
        """
        self.rate = Rate()
        self._label, self._total, self._unit, self._interval = label, total, unit, interval
        self._first_done, self._starting, self._told_start = done, starting, False
        self._last = time.monotonic()
        if not starting:
            self.rate.tick(done)

    def is_due(self, done: int) -> bool:
        """Whether `update` would print a line, so that its values need not be known otherwise."""
        if not self.rate.has_begun:
            return done > self._first_done or not self._told_start
        interval = min(self._interval, _LIVE_SECONDS) if is_terminal(sys.stdout) else self._interval
        return done >= self._total or time.monotonic() - self._last >= interval

    def update(
        self,
        done: int,
        values: Mapping[str, float] | None = None,
        *,
        force: bool = False,
        rate_scale: float = 1.0,
        rate_unit: str = "",
    ):
        """Reports `done` of the total; `rate_scale` and `rate_unit` turn units/s into e.g.
        images/s.
        """
        is_due = force or self.is_due(done)
        if not self.rate.has_begun and done == self._first_done:
            if is_due:
                self._told_start = True
                print_line(f"{self._label}  starting {self._starting} ...")
            return
        self.rate.tick(done)
        if not is_due:
            return
        self._last = time.monotonic()
        line = f"{self._label}  {done}/{self._total} {self._unit}"
        line += "".join(f"  {name} {value:.4g}" for name, value in (values or {}).items())
        seconds = self.rate.seconds_left(max(self._total - done, 0))
        if seconds is not None:
            line += f"  {self.rate.recent * rate_scale:.4g} {rate_unit or self._unit}/s"
            line += f"  ETA {hours(seconds)}"
        if done >= self._total or not is_terminal(sys.stdout):
            print_line(line)
        else:
            # The cursor stands at its beginning, where the next line is written.
            width = shutil.get_terminal_size().columns - 1
            print(f"{ERASE}{line[:width]}\r", end="", flush=True)


def hours(seconds: float) -> str:
    """Returns hours, minutes and seconds, 0:00:15."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"

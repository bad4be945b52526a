"""How fast a long work goes: lately, on the whole, and how much of the time is its own."""

import collections
import contextlib
import time

WINDOW_SECONDS = 30.0
_MARK_SECONDS = 1.0


class Rate:
    """Units a second, from what is done at a few moments; pauses are left out.

    >>> rate = Rate()
    >>> rate.tick(0)
    >>> rate.recent
    0.0
    """

    def __init__(self):
        # (seconds of work, units done) at the first tick, at the last one, and about once a second
        # between them as far back as the window reaches.
        self._first: tuple[float, float] | None = None
        self._last = (0.0, 0.0)
        self._marks: collections.deque[tuple[float, float]] = collections.deque()
        self._paused = 0.0

    def tick(self, done: float):
        """Takes note that `done` units are done; what is before the first tick does not count."""
        if self._first is None:
            self._paused = 0.0
        self._last = (time.monotonic() - self._paused, done)
        if self._first is None:
            self._first = self._last
        if not self._marks or self._last[0] - self._marks[-1][0] >= _MARK_SECONDS:
            self._marks.append(self._last)
        while len(self._marks) > 1 and self._marks[1][0] <= self._last[0] - WINDOW_SECONDS:
            self._marks.popleft()

    @contextlib.contextmanager
    def paused(self):
        """What is done inside is no work on the units."""
        started = time.monotonic()
        yield
        self._paused += time.monotonic() - started

    @property
    def has_begun(self) -> bool:
        """Whether there was a tick."""
        return self._first is not None

    @property
    def recent(self) -> float:
        """Units a second of about the last half minute; 0 where that is not known."""
        return _slope(self._marks[0], self._last) if self._marks else 0.0

    @property
    def overall(self) -> float:
        """Units a second since the first tick; 0 where that is not known."""
        return _slope(self._first, self._last) if self._first else 0.0

    def seconds_left(self, units: float) -> float | None:
        """Returns how long as many more units will take at the recent rate, with as large a share
        of pauses as there was; None where that is not known.
        """
        if not self._first or not self.recent:
            return None
        worked = self._last[0] - self._first[0]
        return units / self.recent * (worked + self._paused) / worked


def _slope(start, end):
    return (end[1] - start[1]) / (end[0] - start[0]) if end[0] > start[0] else 0.0

"""Progress lines with rate and time left."""

import datetime
import time


class Progress:
    """Prints `label  done/total unit  values  rate  ETA` at most every `interval` seconds, and at
    the end.
    """

    def __init__(self, label: str, total: int, unit: str, *, done: int = 0, interval: float = 5.0):
        self._label, self._total, self._unit, self._interval = label, total, unit, interval
        self._first_done, self._start, self._last = done, time.monotonic(), time.monotonic()

    def update(
        self,
        done: int,
        *,
        force: bool = False,
        rate_scale: float = 1.0,
        rate_unit: str = "",
        **values,
    ):
        """Reports `done` of the total; `rate_scale` and `rate_unit` turn units/s into e.g.
        images/s.
        """
        now = time.monotonic()
        if not force and done < self._total and now - self._last < self._interval:
            return
        self._last = now
        rate = (done - self._first_done) / max(now - self._start, 1e-9)
        left = datetime.timedelta(seconds=round((self._total - done) / rate)) if rate > 0 else "?"
        shown = "".join(f"  {name} {value:.4g}" for name, value in values.items())
        speed = f"{rate * rate_scale:.4g} {rate_unit or self._unit}/s"
        print(
            f"{self._label}  {done}/{self._total} {self._unit}{shown}  {speed}  ETA {left}",
            flush=True,
        )

"""How much of the time of training is waiting for data."""

import collections
import time
import typing

# Between the steps looked at a device may have its next step waiting for it, so that looking costs
# it next to nothing.
_EVERY = 11
_RECENT_SAMPLES = 20


class InputWait:
    """The share of a step's time that its batch is waited for, of some of the steps.

    A device goes on with the steps before while the next batch is waited for, and is kept waiting
    itself only once it has done them. So at the steps that are looked at it is first let finish,
    and so is the step itself.
    """

    def __init__(self):
        self._steps = 0
        self._waited = self._all = 0.0
        self._recent: collections.deque[tuple[float, float]] = collections.deque(
            maxlen=_RECENT_SAMPLES
        )

    def step(
        self,
        batches: typing.Iterator,
        run: typing.Callable[[typing.Any], None],
        finish: typing.Callable[[], None],
        *,
        begins_epoch: bool,
    ):
        """Does `run(next(batches))`, and takes the time where it is this step's turn.

        Args:
          batches: at least one more.
          run: the step.
          finish: waits until what was run is done.
          begins_epoch: whether files are opened for this batch. All of these steps are looked at,
            each for itself alone, the others each for those around it, too.
        """
        # The first steps of a process compile.
        is_compiling, is_turn = self._steps < 2, self._steps % _EVERY == 2
        self._steps += 1
        if is_compiling or not (is_turn or begins_epoch):
            run(next(batches))
            return
        finish()
        started = time.monotonic()
        batch = next(batches)
        arrived = time.monotonic()
        run(batch)
        finish()
        weight = 1 if begins_epoch else _EVERY
        sample = weight * (arrived - started), weight * (time.monotonic() - started)
        self._recent.append(sample)
        self._waited += sample[0]
        self._all += sample[1]

    @property
    def recent(self) -> float | None:
        """The share in [0, 1] lately; None where no step was looked at."""
        if not self._recent:
            return None
        return sum(waited for waited, _ in self._recent) / sum(all_ for _, all_ in self._recent)

    @property
    def overall(self) -> float | None:
        """The share in [0, 1] of all steps looked at; None where there is none."""
        return self._waited / self._all if self._all else None

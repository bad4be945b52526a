"""What watches a training run: progress, records, profile, and the time that data is waited for."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from ccssl_tf.runs.progress import Progress
from ccssl_tf.training.input_wait import InputWait
from ccssl_tf.training.log import Log
from ccssl_tf.training.loop_settings import LoopSettings
from ccssl_tf.training.profiling import Profile
from ccssl_tf.training.tracking import ScalarWriter


class Monitor:
    """Watches one process of a run from the step it starts at.

    Attributes:
      log: of the records.
    """

    def __init__(
        self,
        workdir,
        settings: LoopSettings,
        history: dict[str, list[dict]],
        model,
        learning_rate: Callable[[], float],
        *,
        step: int,
        writes: bool = True,
        writers: Sequence[ScalarWriter] = (),
    ):
        """Opens the files.

        Args:
          workdir: of the run.
          settings: of the loop.
          history: group -> records so far; those to come are added to it.
          model: that is trained.
          learning_rate: returns the present one.
          step: steps done before.
          writes, writers: as of `Log`.
        """
        self.log = Log(workdir, history, writes=writes, writers=writers)
        self._settings, self._model, self._learning_rate = settings, model, learning_rate
        self._progress = Progress(
            "train", settings.train_steps, "steps", done=step, starting="the first step"
        )
        self._input_wait = InputWait()
        self._profile = Profile(settings.profile_steps if writes else (), workdir)

    def close(self):
        """Ends the files."""
        self._profile.close()
        self.log.board.close()

    def step(
        self,
        number: int,
        batches: Iterator,
        run: Callable,
        finish: Callable[[], None],
        *,
        begins_epoch: bool,
    ):
        """Does `run(next(batches))`, the step of that number; others are as of `InputWait.step`."""
        self._profile.before(number)
        self._input_wait.step(batches, run, finish, begins_epoch=begins_epoch)
        self._profile.after(number, finish)

    def is_due(self, step: int) -> bool:
        """Whether `tell` would tell anything of the losses and metrics after this step."""
        return self.is_record(step) or self._progress.is_due(step)

    def is_record(self, step: int) -> bool:
        """Whether a record is made after this step."""
        return step % self._settings.log_steps == 0 or step == self._settings.train_steps

    def tell(self, means: Mapping[str, float], step: int):
        """Records and prints what the steps since the last record gave, where it is time to.

        Args:
          means: name -> mean of losses and metrics.
          step: steps that are done, and not only begun.
        """
        shown = dict(means) | self._input_wait_share(self._input_wait.recent)
        batch_size = self._settings.batch_size
        self._progress.update(step, shown, rate_scale=batch_size, rate_unit="images")
        if not self.is_record(step):
            return
        self.log.record("train", means, step)
        speeds = dict(learning_rate=self._learning_rate())
        if rate := self._progress.rate.recent:
            speeds["images_per_second"] = rate * batch_size
        speeds |= self._input_wait_share(self._input_wait.recent)
        self.log.scalars("train", speeds, step)

    def tell_weights(self, step: int):
        """Writes the histograms of the weights, where it is time to."""
        every = self._settings.histogram_steps
        if every and (step % every == 0 or step == self._settings.train_steps):
            self.log.board.histograms(self._model, step)

    def look(self, group: str, step: int, measure: Callable[[], Mapping[str, float]]):
        """Records and prints what `measure` returns; its time is not that of the steps."""
        with self.paused():
            started = time.monotonic()
            record = measure()
            self.log.look(group, record, step, time.monotonic() - started)

    def paused(self) -> contextlib.AbstractContextManager:
        """What is done inside is not training."""
        return self._progress.rate.paused()

    def timing(self) -> dict[str, float]:
        """Returns what `timing.json` says: `images_per_second` and `input_wait_share`, what of them
        is known.
        """
        # A run without two moments has no rate, not one of 0.
        rate = self._progress.rate.overall * self._settings.batch_size
        known = dict(images_per_second=round(rate, 1)) if rate else {}
        return known | self._input_wait_share(self._input_wait.overall)

    def _input_wait_share(self, share):
        return {} if share is None else dict(input_wait_share=round(share, 4))

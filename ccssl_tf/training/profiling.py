"""A profile of some steps of a run, for TensorBoard's PROFILE page."""

import pathlib
from collections.abc import Callable, Sequence

import tensorflow as tf

from ccssl_tf.runs.progress import print_line


class Profile:
    """Profiles the steps from the first to the last one into `workdir/plugins`."""

    def __init__(self, steps: Sequence[int], workdir):
        """Args: first and last step, or none; the run's directory."""
        self._steps, self._directory = tuple(steps), pathlib.Path(workdir)
        self._is_running = False

    def before(self, step: int):
        """Begins, if the step about to be taken is one of them."""
        if self._steps and not self._is_running and self._steps[0] <= step <= self._steps[1]:
            tf.profiler.experimental.start(str(self._directory))
            self._is_running = True

    def after(self, step: int, finish: Callable[[], None]):
        """Ends after the last one; `finish` waits until the step is done."""
        if self._is_running and step >= self._steps[1]:
            finish()
            self.close()
            print_line(f"profile  steps {self._steps[0]} to {step} in {self._directory}")

    def close(self):
        """Ends, if it goes on."""
        if self._is_running:
            self._is_running = False
            tf.profiler.experimental.stop()

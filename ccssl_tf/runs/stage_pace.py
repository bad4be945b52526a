"""How long the stages of a pipeline that are left will take, as far as that is known.

A stage takes as long as the mean of those like it that are done: the same command but for its
directories, its seed and, in proportion, the number of images it trains on. Of stages unlike any
other nothing is known, and nothing is guessed.
"""

import json
import pathlib
import statistics
import time
from collections.abc import Hashable, Sequence

from ccssl_tf.runs.command_lines import Stage
from ccssl_tf.runs.progress import hours
from ccssl_tf.runs.run_record import command_is_done
from ccssl_tf.runs.stage_work import images_trained

# Flags of training whose effect on the time is that on the number of images.
_IGNORED = ("workdir", "output_dir", "seed", "train_steps")


class Pace:
    """What is known of the time of stages.

    >>> Pace([]).describe([])
    ''
    """

    def __init__(self, stages: Sequence[Stage]):
        """Starts the clock.

        Args:
          stages: all of a pipeline. Of those that are done `timing.json` is read, which counts only
            the last process of one that was interrupted, though all the images it trained on.
        """
        self._started = time.monotonic()
        self._taken: dict[Hashable, list[float]] = {}
        for stage in stages:
            if command_is_done(stage.directory, stage.line) and (seconds := _recorded(stage)):
                self.note(stage, seconds)

    def note(self, stage: Stage, seconds: float):
        """Takes note that a stage took so long, from its beginning to its end."""
        self._taken.setdefault(_kind(stage), []).append(seconds / _size(stage))

    def seconds(self, stage: Stage) -> float | None:
        """Returns how long a stage will take, None where none like it is known."""
        taken = self._taken.get(_kind(stage))
        return statistics.fmean(taken) * _size(stage) if taken else None

    def describe(self, left: Sequence[Stage]) -> str:
        """Returns e.g. "0:02:10 so far, 4 stages left, ETA 0:00:40 for 2 of them"; "" with none
        left.
        """
        if not left:
            return ""
        known = [seconds for stage in left if (seconds := self.seconds(stage)) is not None]
        text = f"{hours(time.monotonic() - self._started)} so far, {len(left)} stage"
        text += f"{'s' if len(left) > 1 else ''} left"
        if known:
            text += f", ETA {hours(sum(known))}"
            text += f" for {len(known)} of them" if len(known) < len(left) else ""
        return text


def _size(stage):
    return images_trained(stage) or 1


def _kind(stage):
    """What stages that take equally long have in common."""
    words = []
    for word in stage.arguments:
        name, _, value = word.lstrip("-").partition("=")
        if name in _IGNORED:
            continue
        inside = stage.root and pathlib.Path(value).is_relative_to(stage.root)
        if inside and name == "data_dir":
            words.append(f"{name}={pathlib.Path(value).relative_to(stage.root)}")
        elif not inside:
            words.append(word)
    return (stage.module, *sorted(words))


def _recorded(stage):
    try:
        timing = json.loads((stage.directory / "timing.json").read_text())
        rate = float(timing.get("images_per_second", 0))
        return max(float(timing["seconds"]), images_trained(stage) / rate if rate else 0.0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return 0.0

"""What a training run tells of itself: records in `metrics.jsonl`, TensorBoard, the terminal."""

import json
import pathlib
from collections.abc import Mapping, Sequence

from ccssl_tf.metrics.feature_health import has_collapsed
from ccssl_tf.runs.files import write_bytes
from ccssl_tf.runs.progress import print_line
from ccssl_tf.training.tensorboard import Board
from ccssl_tf.training.tracking import ScalarWriter

RECORDS_NAME = "metrics.jsonl"
# Group of records -> the curve that its numbers are points of.
GROUPS = dict(train="train", evaluation="held_out", health="held_out")
# Numbers with a name of their own need no chart with others of this name.
_PREFIXES = dict(health="health/")
_LABELS = dict(evaluation="evaluate", health="health")


def new_history() -> dict[str, list[dict]]:
    """Returns group -> records, each a dict of numbers and `step`: none yet."""
    return {group: [] for group in GROUPS}


class Log:
    """Tells of a run.

    `metrics.jsonl` has a line a record, `group`, `step` and the numbers by name; nothing in it
    depends on time or machine.

    Attributes:
      board: TensorBoard's events.
    """

    def __init__(
        self,
        workdir,
        history: dict[str, list[dict]],
        *,
        writes: bool = True,
        writers: Sequence[ScalarWriter] = (),
    ):
        """Opens the files. The lines are those of `history`: what a killed run has told after its
        last checkpoint it will tell again.

        Args:
          workdir: of the run.
          history: group -> records so far; those to come are added to it.
          writes: False where another process does.
          writers: get the numbers that TensorBoard gets.
        """
        self._path = pathlib.Path(workdir) / RECORDS_NAME
        self._history, self._writes = history, writes
        self.board = Board(workdir, writes=writes)
        self._writers = (self.board, *writers)
        if not writes:
            return
        lines = [
            (record["step"], _line(group, record))
            for group in GROUPS
            for record in history[group]
            if len(record) > 1
        ]
        # In the order of the groups within a step.
        lines.sort(key=lambda line: line[0])
        write_bytes(self._path, "".join(line for _, line in lines).encode())

    def record(self, group: str, record: Mapping[str, float], step: int):
        """Adds numbers of "train", "evaluation" or "health" to the history, and writes them."""
        self._history[group].append(dict(record, step=step))
        prefix = _PREFIXES.get(group, "")
        numbers = {f"{prefix}{name}": value for name, value in record.items()}
        self.scalars(GROUPS[group], numbers, step)
        if self._writes and record:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(_line(group, dict(record, step=step)))

    def scalars(self, curve: str, values: Mapping[str, float], step: int):
        """Adds a point (name -> number) to the curves "train" or "held_out"."""
        for writer in self._writers:
            writer.scalars(curve, values, step)

    def look(self, group: str, record: Mapping[str, float], step: int, seconds: float):
        """As `record`, of what was looked at for some seconds, and prints it."""
        self.record(group, record, step)
        if record:
            shown = "  ".join(f"{name} {value:.4g}" for name, value in record.items())
            print_line(f"{_LABELS[group]}  step {step}  {shown}  ({seconds:.1f} s)")
        if group == "health" and has_collapsed(record):
            print_line(
                f"WARNING: the features have collapsed at step {step}: they hardly tell images "
                "apart; a lower --learning_rate in another --workdir may keep them"
            )


def _line(group, record):
    return json.dumps(dict(group=group, step=record["step"]) | record) + "\n"

"""What the stages of a pipeline cost, in seconds and bytes, as far as it was measured.

A stage costs what those like it have cost: the same command but for its directories, its seed and
what changes only how many images it goes over, or how many at a time; and in proportion to these
images. Of stages unlike any other nothing is known, and nothing is guessed.
"""

import csv
import dataclasses
import pathlib
import shlex
import statistics
from collections.abc import Callable, Sequence

from ccssl_tf.runs import files, machine
from ccssl_tf.runs.command_lines import Stage
from ccssl_tf.runs.errors import CorruptArtifactError, InputError
from ccssl_tf.runs.json_files import read_json
from ccssl_tf.runs.progress import hours
from ccssl_tf.runs.stage_work import images_read, images_trained

COSTS_NAME = "costs.csv"
_TIMING_FORM = dict(seconds=(float, int), images_per_second=(float, int, None), machine=(str, None))
# Flags on which the cost of an image does not depend, or little.
_IGNORED = frozenset(
    {"workdir", "output_dir", "seed", "train_steps", "batch_size", "accumulate_steps"}
    | {"eval_steps", "checkpoint_steps", "learning_rate", "learning_rate_schedule", "log_steps"}
    | {"warmup_steps", "num_workers", "train_per_class", "source", "num_train", "num_val"}
)
# What the cost of reading a network or its features depends on.
_CONTENT_FLAGS = ("extractor", "backbone", "width_multiplier", "endpoint", "pool_grid")


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What one stage has cost: a line of costs.csv.

    Attributes:
      machine: on which.
      command: of what kind of stage.
      images: that it went over; 0 where that is not known, and others then cost the same.
      seconds: from its beginning to its end.
      images_per_second: of the steps of a training; 0 of other stages.
      num_bytes: of what it wrote.
    """

    machine: str
    command: str
    images: int
    seconds: float
    images_per_second: float
    num_bytes: int

    def seconds_of(self, images: int) -> float:
        """Returns the seconds of as many images; what is beside a training's steps is constant."""
        if not self.images:
            return self.seconds
        if not self.images_per_second:
            return self.seconds * images / self.images
        beside = max(self.seconds - self.images / self.images_per_second, 0)
        return beside + images / self.images_per_second

    def bytes_of(self, images: int) -> float:
        """Returns the bytes of as many images; a training writes as much of any number."""
        if not self.images or self.images_per_second:
            return self.num_bytes
        return self.num_bytes * images / self.images


class StageCosts:
    """What is known of the costs of a pipeline's stages.

    >>> StageCosts([]).measurements
    []
    """

    def __init__(self, stages: Sequence[Stage]):
        """Knows of no cost yet.

        Args:
          stages: all of a pipeline.
        """
        self._stages = stages
        self._by_directory = {stage.directory: stage for stage in stages}
        self.measurements: list[Measurement] = []

    def note(self, stage: Stage, seconds: float | None = None):
        """Takes note of what a stage that is done has cost.

        Args:
          stage: one of the pipeline.
          seconds: from its beginning to its end; None for those in its `timing.json`, which are of
            the last process alone where it was interrupted, though the images are all.
        """
        where, recorded, rate = _read_timing(stage)
        if seconds:
            where = where or machine.description()
        images = self._images(stage)
        seconds = seconds or max(recorded, images / rate if rate else 0.0)
        if not seconds:
            return
        num_bytes = sum(
            path.stat().st_size for path in stage.directory.rglob("*") if path.is_file()
        )
        self.measurements.append(
            Measurement(where, self._kind(stage), images, round(seconds, 1), rate, num_bytes)
        )

    def read(self, path):
        """Takes what was measured elsewhere, for stages of which nothing is known from here.

        Raises:
          InputError: the file is no costs.csv.
        """
        known = {one.command for one in self.measurements}
        self.measurements += [one for one in _read_csv(path) if one.command not in known]

    def write(self, path):
        """Writes what was measured as a table, a line a stage."""
        names = [field.name for field in dataclasses.fields(Measurement)]
        files.write_csv(path, names, map(dataclasses.astuple, self.measurements))

    def seconds(self, stage: Stage) -> float | None:
        """Returns how long a stage will take, None where none like it is known."""
        return self._mean(stage, Measurement.seconds_of)

    def num_bytes(self, stage: Stage) -> float | None:
        """Returns how much a stage will write, None where none like it is known."""
        return self._mean(stage, Measurement.bytes_of)

    def machines(self, stages: Sequence[Stage]) -> list[str]:
        """Returns the machines on which stages like these were measured."""
        kinds = set(map(self._kind, stages))
        names = {one.machine for one in self.measurements if one.command in kinds}
        return sorted(names - {""})

    def _mean(self, stage, of: Callable[[Measurement, int], float]) -> float | None:
        kind, images = self._kind(stage), self._images(stage)
        # Where it is not known how many images a stage will go over, only those count of which that
        # was not known either.
        costs = [
            of(one, images)
            for one in self.measurements
            if one.command == kind and bool(one.images) == bool(images)
        ]
        return statistics.fmean(costs) if costs else None

    def _images(self, stage):
        return images_trained(stage) or images_read(stage, self._stages)

    def _kind(self, stage: Stage) -> str:
        """What stages have in common that cost as much an image: of a directory of the pipeline
        that they read, the name if it is of images, else what is in it.
        """
        words = []
        for word in stage.arguments:
            name, _, value = word.lstrip("-").partition("=")
            if name in _IGNORED:
                continue
            if stage.root and pathlib.Path(value).is_relative_to(stage.root):
                path = pathlib.Path(value)
                is_data = name == "data_dir"
                content = path.relative_to(stage.root) if is_data else self._content(path)
                words.append(f"--{name}={content}")
            else:
                words.append(word)
        return shlex.join((stage.module, *sorted(words)))

    def _content(self, path: pathlib.Path) -> str:
        """Network and layer of features, the network of a training; "" of anything else."""
        if path not in self._by_directory:
            return ""
        stage = self._by_directory[path]
        start = self._content(pathlib.Path(stage.flag("init_backbone") or ""))
        values = map(stage.flag, _CONTENT_FLAGS)
        return " ".join(filter(None, (start, *values)))


def _read_timing(stage) -> tuple[str, float, float]:
    """Machine, seconds, images a second; "" and 0 where these are not recorded."""
    try:
        timing = read_json(stage.directory / "timing.json", _TIMING_FORM, remedy="")
    except (OSError, CorruptArtifactError):
        return "", 0.0, 0.0
    return timing.get("machine") or "", timing["seconds"], timing.get("images_per_second") or 0.0


def _read_csv(path) -> list[Measurement]:
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [
                Measurement(
                    row["machine"],
                    row["command"],
                    int(row["images"]),
                    float(row["seconds"]),
                    float(row["images_per_second"]),
                    int(row["num_bytes"]),
                )
                for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"--costs={path}: no table of costs as a pipeline writes it ({COSTS_NAME}): {error}"
        ) from error


def in_words(costs: StageCosts, stages: Sequence[Stage]) -> str:
    """Returns e.g. "12:30:00, 1.2 GB", of those stages of which it is known; "" of none."""
    seconds = [cost for stage in stages if (cost := costs.seconds(stage)) is not None]
    sizes = [cost for stage in stages if (cost := costs.num_bytes(stage)) is not None]
    return f"{hours(sum(seconds))}, {_size(sum(sizes))}" if seconds else ""


def unknown_in_words(costs: StageCosts, stages: Sequence[Stage]) -> str:
    """Returns e.g. ", and 3 of 7 stages of which it is not known"; "" where all are known."""
    unknown = sum(costs.seconds(stage) is None for stage in stages)
    return f", and {unknown} of {len(stages)} stages of which it is not known" if unknown else ""


def _size(num_bytes):
    for unit, digits in (("GB", 1e9), ("MB", 1e6)):
        if num_bytes >= digits:
            return f"{num_bytes / digits:.1f} {unit}"
    return f"{num_bytes / 1e3:.0f} kB"

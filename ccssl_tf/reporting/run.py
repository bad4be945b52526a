"""One run as it lies on disk: its command, inputs, flags, numbers and pictures."""

import dataclasses
import pathlib

from ccssl_tf.runs.json_files import read_json

# Each evaluation that is no probe has a main number, and a title in the report.
EVALUATIONS = {
    "voc07_classification": (
        "mean_average_precision",
        "Classes in a photo: mean average precision",
    ),
    "fast_rcnn": ("mean_average_precision", "Detection: mean average precision"),
    "fcn": ("mean_iou", "Segmentation: mean intersection over union"),
}
_COUNT = range(1 << 63)
_NEAREST = {
    str: [
        dict(
            cluster=_COUNT,
            size=_COUNT,
            nearest=[dict(index=_COUNT, filename=str, distance=(float, int))],
        )
    ]
}


@dataclasses.dataclass(frozen=True)
class Run:
    """One output directory.

    Attributes:
      path: the directory.
      name: its path below the directory searched, with slashes.
      command: module, then arguments.
      inputs: flag -> {"path", "fingerprint"} of what it read.
      flags: every resolved flag by name, as text.
      settings: those that are not at their default, by name, as text: what tells runs apart.
      finished: whether its DONE marker is there.
      metrics, timing: contents of the JSON files, {} where absent.
      made_by: version and commit of the program that ran, those that it has recorded.
      fingerprint: of its outputs, None if it has none.
      damaged: paths of the pictures that cannot be read.
    """

    path: pathlib.Path
    name: str
    command: list[str]
    inputs: dict[str, dict[str, str]]
    flags: dict[str, str]
    settings: dict[str, str]
    finished: bool
    metrics: dict
    timing: dict
    made_by: tuple[str, ...]
    fingerprint: str | None
    damaged: frozenset[pathlib.Path] = frozenset()

    @property
    def module(self) -> str:
        """E.g. `ccssl_tf.train`."""
        return self.command[0]

    @property
    def task(self) -> str | None:
        """The training task, None for other commands."""
        return self.flags.get("task") if self.module == "ccssl_tf.train" else None

    @property
    def is_evaluation(self) -> bool:
        """Whether it tells how good another network is."""
        return self.task is not None and (self.task.endswith("_probe") or self.task in EVALUATIONS)

    @property
    def date(self) -> str | None:
        """The day it ended, e.g. 2018-06-18, in UTC; None where the run does not say."""
        ended = self.timing.get("finished")
        return ended[:10] if isinstance(ended, str) else None

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.flags.get("seed", 0))

    @property
    def history(self) -> dict:
        """Records of training: {"train": [{"step", "loss", ...}], "evaluation": [...]}."""
        return self.metrics.get("history", {})

    @property
    def definition(self) -> str | None:
        """How the run says its numbers are computed."""
        return self.metrics.get("facts", {}).get("definition")

    @property
    def chance(self) -> float | None:
        """Accuracy of guessing on the held-out images, in [0, 1]."""
        chance = self.metrics.get("facts", {}).get("chance")
        if not isinstance(chance, dict):
            return chance
        return next((chance[name] for name in ("val", "train", "mean_iou") if name in chance), None)

    @property
    def pictures(self) -> dict[str, pathlib.Path]:
        """The paths of the examples that the task drew, by name."""
        paths = sorted((self.path / "pictures").glob("*.png"))
        left_out = {self.path / "pictures" / "conv1_filters.png", *self.damaged}
        return {path.stem: path for path in paths if path not in left_out}

    def picture(self, name: str) -> pathlib.Path | None:
        """Returns the path of `pictures/<name>.png`, None where none can be read."""
        path = self.path / "pictures" / f"{name}.png"
        return path if path.is_file() and path not in self.damaged else None

    def nearest_images(self) -> dict[str, list[dict]]:
        """Returns, of a clustering, split -> of every cluster its number, its size and the images
        nearest to its centroid; raises CorruptArtifactError where they were not written.
        """
        return read_json(self.path / "nearest.json", _NEAREST, remedy="cluster again")

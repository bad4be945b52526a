"""What changes the stages of a pipeline: --set, --sweep and --images."""

import dataclasses
import pathlib
import re
from collections.abc import Sequence

from ccssl_tf.runs.command_lines import Stage
from ccssl_tf.runs.errors import InputError

_SETTING = re.compile(r"(?:(?P<stage>[^=:]+):)?(?P<name>[a-z][a-z0-9_]*)=(?P<value>.+)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class _Setting:
    """What `[STAGE:]name=value` says; `stage` is None for every stage that has the flag."""

    stage: str | None
    name: str
    value: str

    @classmethod
    def parse(cls, text: str, option: str, form: str) -> "_Setting":
        match = _SETTING.fullmatch(text)
        if not match:
            raise InputError(f"--{option}={text}: write --{option}={form}")
        return cls(match["stage"], match["name"], match["value"])


def _addressed(stages: Sequence[Stage], setting: _Setting, option: str) -> list[Stage]:
    """Returns the stages that a setting is for.

    Raises:
      InputError: no such stage, no stage with the flag, or several with different values.
    """
    typed = f"--{option}={setting.stage + ':' if setting.stage else ''}{setting.name}=..."
    if setting.stage is not None:
        named = [stage for stage in stages if stage.name == setting.stage]
        if not named:
            names = ", ".join(stage.name for stage in stages)
            raise InputError(f"{typed}: no stage of this pipeline is called so; there are {names}")
        return named
    written = [stage for stage in stages if stage.flag(setting.name) is not None]
    if not written:
        raise InputError(f"{typed}: no command of this pipeline has --{setting.name}")
    if len({stage.flag(setting.name) for stage in written}) > 1:
        values = ", ".join(f"{stage.name} {stage.flag(setting.name)}" for stage in written)
        raise InputError(
            f"{typed}: the stages have different values ({values}); name the stage, e.g. "
            f"--{option}={written[0].name}:{setting.name}={setting.value}"
        )
    return written


def override(stages: Sequence[Stage], settings: Sequence[str]) -> list[Stage]:
    """Applies settings to stages.

    Args:
      stages: in order.
      settings: `stage:name=value`, or `name=value` for all stages in which the flag is written,
        which must agree.

    Raises:
      InputError: see `_addressed`, or a setting of another form.
    """
    # All are looked up before any is applied: two settings of one flag do not disagree.
    parsed = [_Setting.parse(text, "set", "name=value or STAGE:name=value") for text in settings]
    addressed = [{id(stage) for stage in _addressed(stages, one, "set")} for one in parsed]
    changed = []
    for stage in stages:
        result = stage
        for setting, names in zip(parsed, addressed, strict=True):
            if id(stage) in names:
                result = result.with_flag(setting.name, setting.value)
        changed.append(result)
    return changed


def sweep(stages: Sequence[Stage], text: str, workdir: str) -> list[Stage]:
    """Runs what depends on a flag once for each of several values, and everything else once.

    A stage depends on the flag if it is written there (of a named stage: if it is that stage), or
    if it reads or writes below the directory of one that does. Those go to
    `workdir/<name>_<value>/`; a report looks at all of them, and so comes last.

    Args:
      stages: in order, each writing below `workdir`.
      text: `[stage:]name=value,value,...`.
      workdir: the root.

    Raises:
      InputError: see `override`; fewer than two different values, or a stage to repeat that does
        not write below `workdir`.
    """
    form = "name=value,value with different values, e.g. num_clusters=500,1000 or STAGE:name=..."
    setting = _Setting.parse(text, "sweep", form)
    values = setting.value.split(",")
    if not all(values) or len(set(values)) != len(values) or len(values) < 2:
        raise InputError(f"--sweep={text}: write --sweep={form}")
    addressed = {id(stage) for stage in _addressed(stages, setting, "sweep")}
    repeated: list[Stage] = []
    shared: list[Stage] = []
    reports: list[Stage] = []
    for stage in stages:
        depends = id(stage) in addressed or any(
            stage.mentions(other.directory) for other in repeated
        )
        is_report = stage.module == "ccssl_tf.report"
        (reports if is_report else repeated if depends else shared).append(stage)
        if depends and not is_report and not stage.directory.is_relative_to(workdir):
            raise InputError(
                f"--sweep={text}: {stage.directory} is not below {workdir}; write {{workdir}}/... "
                "in the command"
            )
    copies = []
    for value in values:
        root = pathlib.Path(workdir) / re.sub(r"[^\w.+-]", "_", f"{setting.name}_{value}")
        moves = {s.directory: root / s.directory.relative_to(workdir) for s in repeated}
        for stage in repeated:
            copy = stage.moved(moves)
            copies.append(copy.with_flag(setting.name, value) if id(stage) in addressed else copy)
    return [*shared, *copies, *reports]


def use_images(stages: Sequence[Stage], source: str) -> list[Stage]:
    """Replaces the first `data_prep` command by the conversion of the folder `source`, at the size
    the pipeline trains on; `cluster` chooses the number of clusters for these images.
    """
    places = [i for i, stage in enumerate(stages) if stage.module.startswith("data_prep.")]
    if not places:
        raise InputError("--images: this pipeline prepares no images, there is nothing to replace")
    replaced = stages[places[0]]
    texts = [stage.flag("image_size") for stage in stages if stage.module == "ccssl_tf.train"]
    arguments = [f"--source={source}", f"--output_dir={replaced.directory}"]
    # Written out, so that --set can change them.
    arguments += ["--labels=auto", "--val_fraction=0.1"]
    if sizes := [int(text) for text in texts if text and text.isdigit()]:
        arguments.append(f"--resize_short_side={max(sizes)}")
    conversion = Stage("data_prep.image_folder", tuple(arguments), root=replaced.root)
    stages = [
        stage.with_flag("num_clusters", "0") if stage.flag("num_clusters") else stage
        for stage in stages
    ]
    return [*stages[: places[0]], conversion, *stages[places[0] + 1 :]]

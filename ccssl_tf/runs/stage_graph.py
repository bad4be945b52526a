"""The stages of a pipeline as a graph: which reads what which writes.

Nothing is declared: a stage reads another if one of its flags names the other's directory, a path
below it, or, as a report over everything does, one above it.
"""

import difflib
import fnmatch
import os
import pathlib
from collections.abc import Iterable, Sequence

from ccssl_tf.runs.command_lines import Stage
from ccssl_tf.runs.errors import InputError

# Stages that a message about a wrong name lists, those alike first.
_MAX_NAMES = 12
_WRITTEN = ("workdir", "output_dir")


def inputs_of(stage: Stage, stages: Iterable[Stage]) -> list[Stage]:
    """Returns the stages that `stage` reads, in the order given.

    Args:
      stage: one of them, or another.
      stages: all of a pipeline.
    """
    read = [
        os.path.normpath(value)
        for name, equals, value in (word.lstrip("-").partition("=") for word in stage.arguments)
        if equals and name not in _WRITTEN and value
    ]
    own = os.path.normpath(stage.directory)
    places = [(os.path.normpath(other.directory), other) for other in stages]
    return [
        other
        for place, other in places
        if place != own and any(_is_within(path, place) or _is_within(place, path) for path in read)
    ]


def _is_within(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def in_order(stages: Sequence[Stage]) -> list[Stage]:
    """Returns each stage once, after all that it reads; else as they were given.

    Two parts of a pipeline may name the same stage, and in either order.

    Raises:
      InputError: two different commands write to one directory, or stages read each other.
    """
    by_directory: dict[pathlib.Path, Stage] = {}
    for stage in stages:
        other = by_directory.setdefault(stage.directory, stage)
        if other.line != stage.line:
            raise InputError(
                f"{stage.directory}: two commands of the pipeline write there; give each its own "
                "directory"
            )
    waiting, ordered = list(by_directory.values()), []
    inputs = {stage.directory: inputs_of(stage, waiting) for stage in waiting}
    while waiting:
        ready = next((stage for stage in waiting if not _still(inputs, stage, waiting)), None)
        if ready is None:
            names = ", ".join(stage.name for stage in waiting)
            raise InputError(f"these stages wait for each other: {names}; see their flags")
        waiting.remove(ready)
        ordered.append(ready)
    return ordered


def _still(inputs, stage, waiting):
    return any(other in waiting for other in inputs[stage.directory])


def selected(stages: Sequence[Stage], only: Sequence[str], until: Sequence[str]) -> list[Stage]:
    """Returns some of the stages, in order.

    Args:
      stages: all.
      only: names of stages to keep, `*` for any letters; none: all.
      until: names of stages to keep with all that they read, directly or not; none: all.

    Raises:
      InputError: no stage is called so.
    """
    if not only and not until:
        return list(stages)
    kept: set[pathlib.Path] = set()
    pending = [stage for name in until for stage in _named(stages, name, "until")]
    while pending:
        stage = pending.pop()
        if stage.directory not in kept:
            kept.add(stage.directory)
            pending += inputs_of(stage, stages)
    kept |= {stage.directory for name in only for stage in _named(stages, name, "only")}
    return [stage for stage in stages if stage.directory in kept]


def _named(stages, name, option):
    pattern = name.strip().rstrip("/")
    named = [stage for stage in stages if fnmatch.fnmatchcase(stage.name, pattern)]
    if not named:
        names = list(dict.fromkeys(stage.name for stage in stages))
        if len(names) > _MAX_NAMES:
            alike = difflib.get_close_matches(pattern, names, _MAX_NAMES, 0.0)
            names = [*alike, f"{len(names) - len(alike)} more (--dry_run lists all)"]
        raise InputError(
            f"--{option}={name}: no stage of this pipeline is called so; there are "
            f"{', '.join(names)}"
        )
    return named

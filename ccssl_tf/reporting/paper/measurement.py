"""What one run measured, found by its path: `[.../seed<N>/...]<evaluation>/<network>`."""

import dataclasses
import math
import pathlib
import re
from collections.abc import Callable

from ccssl_tf.data import outcomes as outcomes_lib
from ccssl_tf.data.outcomes import Outcomes
from ccssl_tf.reporting.data_sets import held_out_count
from ccssl_tf.reporting.paper.tables import paper_numbers
from ccssl_tf.reporting.run import Run
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.files import fingerprint_of
from ccssl_tf.runs.run_record import FREE_FLAGS, RUN_NAME, read_record

# The first parts of stages that are in no table of the paper.
_OTHER_STAGES = frozenset({"imagenet_knn", "train", "clusters"})
_FROZEN = re.compile(r"frozen_\w+")
_SEED = re.compile(r"seed(\d+)")


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One run of a stage.

    Attributes:
      stage: evaluation and network, e.g. `imagenet_probe/cc_jigsaw_pp`.
      seed: of the run.
      metrics: numbers of `metrics.json` but its history, by their keys joined with dots.
      count: number of held-out images of an accuracy, None where nobody knows.
      outcomes: right and wrong answers, None where they were not kept.
      commit: of the program that ran, None where the run does not say.
      flags: digest of the settings that decide the result, without seed and paths.
      data: fingerprint of the images it read, None where it read none.
      inputs: flag -> stage, of what it read from other stages.
      saturation: of the colours of the network's first filters, None where it was not measured.
    """

    stage: str
    seed: int
    metrics: dict[str, float]
    count: int | None = None
    outcomes: Outcomes | None = None
    commit: str | None = None
    flags: str = ""
    data: str | None = None
    inputs: dict[str, str] = dataclasses.field(default_factory=dict)
    saturation: float | None = None


def stage_at(name: str) -> tuple[str, int | None] | None:
    """Returns stage and seed that a path tells of; None for the seed where it tells of none.

    Args:
      name: path of a run below the directory of all, with slashes.

    Returns:
      None where the path is of no stage of the paper's experiments.

    >>> stage_at("seed1/imagenet_probe/cc_jigsaw_pp")
    ('imagenet_probe/cc_jigsaw_pp', 1)
    """
    *above, evaluation, network = ["", "", *name.split("/")]
    is_known = evaluation in _OTHER_STAGES | _evaluations() or _FROZEN.fullmatch(evaluation)
    if not is_known or not network:
        return None
    seeds = [match[1] for match in map(_SEED.fullmatch, above) if match]
    return f"{evaluation}/{network}", int(seeds[-1]) if seeds else None


def _evaluations() -> frozenset[str]:
    return frozenset(number.evaluation for number in paper_numbers())


def measure(
    runs: RunSet, saturation_of: Callable[[str, pathlib.Path], float | None] | None = None
) -> list[Measurement]:
    """Returns what the finished runs measured, by stage and seed.

    Args:
      runs: the runs; those of other stages are left out.
      saturation_of: maps the stage and directory of a run to the colour saturation of its first
        filters, or to None; by default it is not measured.

    Raises:
      InputError: two runs are of the same stage and seed.
      CorruptArtifactError: the outcomes of a run are damaged.
    """
    found: dict[tuple[str, int], tuple[Run, Measurement]] = {}
    for run in runs.finished:
        place = stage_at(run.name)
        if place is None:
            continue
        stage, seed = place[0], run.seed if place[1] is None else place[1]
        if (stage, seed) in found:
            other = found[stage, seed][0]
            raise InputError(
                f"{run.path}: is {stage} of seed {seed}, as {other.path} is; name a directory with "
                "one run of each, or put other seeds below seed<N>"
            )
        saturation = saturation_of(stage, run.path) if saturation_of else None
        found[stage, seed] = run, _measurement(runs, run, stage, seed, saturation)
    return [measurement for _, (_, measurement) in sorted(found.items())]


def _measurement(runs, run, stage, seed, saturation):
    metrics = dict(_numbers({k: v for k, v in run.metrics.items() if k != "history"}))
    outcomes = outcomes_lib.read_outcomes(run.path)
    if outcomes:
        outcomes_lib.check_against(outcomes, metrics, run.path)
    commit = read_record(run.path / RUN_NAME).get("commit")
    free = FREE_FLAGS | {"seed"} | run.inputs.keys()
    settings = {name: text for name, text in run.settings.items() if name not in free}
    return Measurement(
        stage=stage,
        seed=seed,
        metrics=metrics,
        count=outcomes.count if outcomes else held_out_count(runs, run),
        outcomes=outcomes,
        commit=commit if isinstance(commit, str) else None,
        flags=fingerprint_of([run.module, settings]),
        data=_data(run),
        inputs=_inputs(run),
        saturation=saturation,
    )


def _numbers(values: dict, prefix: str = ""):
    """Yields (keys joined with dots, number) of nested dicts; what is not finite is left out."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{prefix}{name}.")
        elif (
            isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        ):
            yield f"{prefix}{name}", value


def _data(run):
    record = run.inputs.get("data_dir")
    found = record.get("fingerprint") if isinstance(record, dict) else None
    return found if isinstance(found, str) else None


def _inputs(run):
    """What was read from other stages, told by the ends of the paths: these alone are no secret."""
    stages = {}
    for flag, record in sorted(run.inputs.items()):
        path = pathlib.PurePath(str(record.get("path", "")) if isinstance(record, dict) else "")
        path = path.parent if path.suffix == ".keras" else path
        place = stage_at("/".join(path.parts[-2:]))
        if place:
            stages[flag] = place[0]
    return stages

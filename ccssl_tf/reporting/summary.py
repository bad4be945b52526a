"""The numbers of a set of runs as plain data: what `summary.json` holds."""

import math
import re

from ccssl_tf.reporting import transfers as transfers_lib
from ccssl_tf.reporting.accuracy_errors import standard_error
from ccssl_tf.reporting.run import EVALUATIONS, Run
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.reporting.verdicts import verdicts

SCHEMA_VERSION = 1
# This stands for the identity of the random network, which no run has made.
_RANDOM = "random"


def summarise(runs: RunSet) -> dict:
    """Returns everything `summary.json` holds.

    The runs alone decide it: no time, machine or absolute path is in it.

    Returns:
      {"runs": [one dict per run], "probes": {task: {"endpoints": [...], "networks": [...]}},
      "evaluations": {task: {"metric": name, "networks": [...]}}, "training": [...], "clusters":
      [...], "transfers": [...], "verdicts": [a sentence for each student]}. Entries of `networks`,
      `training` and `clusters` are over the seeds of one experiment: `seeds`, `runs`, and
      `evaluation` with {"mean", "min", "max", "std", "values"} by metric, `std` being the sample
      standard deviation (0 for one seed); an accuracy also has its `standard_error` where it is
      known. Entries of `training` have the like of the last training batches in `training`.
      An entry of `transfers` names its `student`, its `teacher` and the entries of the others that
      tell of them.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs.finished:
        # A student without held-out images has no numbers, but maybe a probe has some of it.
        if run.task or _numbers(run):
            groups.setdefault(runs.identity(run), []).append(run)
    groups = {
        identity: sorted(group, key=lambda run: (run.seed, run.name))
        for identity, group in groups.items()
    }
    probes: dict[str, list[dict]] = {}
    evaluations: dict[str, list[dict]] = {}
    training, clusters, entry_of = [], [], {}
    for identity, group in groups.items():
        entry = entry_of[identity] = _entry(runs, group)
        task = group[0].task
        if task and group[0].is_evaluation:
            table = probes if task.endswith("_probe") else evaluations
            table.setdefault(task, []).append(entry)
        elif task:
            entry |= dict(
                task=task,
                training=_shared_statistics([run.metrics.get("training", {}) for run in group]),
            )
            training.append(entry)
        elif group[0].module == "ccssl_tf.cluster":
            entry |= dict(network=runs.clustered(group[0]))
            clusters.append(entry)
    for entries in (*probes.values(), *evaluations.values(), training, clusters):
        _tell_apart(entries)
        entries.sort(key=lambda entry: _order(entry["network"]))
    summary = dict(
        schema_version=SCHEMA_VERSION,
        runs=[_run_entry(runs, run) for run in runs.runs],
        probes={
            task: dict(endpoints=_endpoints(entries), networks=entries)
            for task, entries in sorted(probes.items())
        },
        evaluations={
            task: dict(metric=EVALUATIONS[task][0], networks=entries)
            for task, entries in sorted(evaluations.items())
        },
        training=training,
        clusters=clusters,
        transfers=_transfers(runs, groups, entry_of),
    )
    return dict(summary, verdicts=verdicts(runs, summary))


def _transfers(runs: RunSet, groups: dict[str, list[Run]], entry_of: dict[str, dict]) -> list[dict]:
    """Returns the students, in order of teacher and number of clusters.

    Args:
      runs: the runs reported on.
      groups: identity of an experiment -> its runs.
      entry_of: identity of an experiment -> its entry, named for good.
    """
    probes_of = _probes_by_network(runs, groups, entry_of)
    students = []
    for identity, group in groups.items():
        if not group[0].task or group[0].is_evaluation:
            continue
        transfer = transfers_lib.transfer_of(runs, group[0])
        if transfer is None:
            continue
        teacher, clusters = transfer.teacher, transfer.clusters
        identities = dict(
            student=identity,
            teacher=runs.identity(teacher) if teacher else None,
            random=_RANDOM,
        )
        cluster_entry = entry_of.get(runs.identity(clusters)) if clusters else None
        students.append(
            dict(
                student=entry_of[identity]["network"],
                task=group[0].task,
                runs=[run.name for run in group],
                teacher=_teacher_name(runs, transfer),
                images=transfers_lib.images_used(runs, transfer),
                features=transfers_lib.describe_features(transfer) if transfer.features else None,
                num_clusters=clusters.metrics.get("num_clusters") if clusters else None,
                clusters=cluster_entry["network"] if cluster_entry else None,
                probes={
                    role: [list(probe) for probe in probes_of.get(network, [])] if network else []
                    for role, network in identities.items()
                },
            )
        )
    return sorted(
        students,
        key=lambda entry: (
            entry["teacher"],
            entry["task"],
            entry["num_clusters"] or 0,
            entry["student"],
        ),
    )


def _probes_by_network(
    runs: RunSet, groups: dict[str, list[Run]], entry_of: dict[str, dict]
) -> dict[str, list[tuple[str, str]]]:
    """Returns identity of a network -> (task, name of the network) of its probes.

    Probes whose network is not among the runs are left out.
    """
    probes: dict[str, list[tuple[str, str]]] = {}
    for identity, group in groups.items():
        run, task = group[0], group[0].task
        if not task or not task.endswith("_probe"):
            continue
        network = runs.source(run, "init_backbone")
        if network is None and "init_backbone" in run.inputs:
            continue
        key = runs.identity(network) if network else _RANDOM
        probes.setdefault(key, []).append((task, entry_of[identity]["network"]))
    return probes


def _teacher_name(runs, transfer):
    if transfer.student and "teacher_backbone" in transfer.student.inputs:
        return runs.network(transfer.teacher) if transfer.teacher else "unknown"
    return runs.clustered(transfer.clusters)


def _run_entry(runs, run):
    return dict(
        name=run.name,
        command=run.module,
        task=run.task,
        network=runs.network(run) if run.task else None,
        status="finished" if run.finished else "unfinished",
        seed=run.seed,
        step=run.metrics.get("step"),
        evaluation=_numbers(run) if run.finished else {},
    )


def _numbers(run: Run) -> dict[str, float]:
    """Returns the final numbers of a training run or a clustering, {} for other commands.

    Nested numbers of a clustering are called `nmi/train`, `max/cluster_size` and so on.
    """
    if run.task:
        metrics = dict(run.metrics.get("evaluation", {}))
    elif run.module == "ccssl_tf.cluster":
        metrics = dict(run.metrics)
        groups = dict(metrics.pop("splits", {}), cluster_size=metrics.pop("cluster_size", {}))
        metrics |= {
            f"{name}/{group}": value
            for group, values in groups.items()
            for name, value in values.items()
        }
    else:
        return {}
    return {
        name: float(value)
        for name, value in metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _shared_statistics(runs_numbers: list[dict]) -> dict[str, dict]:
    """Returns the statistics of the metrics that all of the runs have."""
    shared = [name for name in runs_numbers[0] if all(name in numbers for numbers in runs_numbers)]
    return {name: _statistics([numbers[name] for numbers in runs_numbers]) for name in shared}


def _entry(runs: RunSet, group: list[Run]) -> dict:
    runs_numbers = [_numbers(run) for run in group]
    evaluation = _shared_statistics(runs_numbers)
    if group[0].task == "nonlinear_probe":
        # A run of a nonlinear probe has the numbers of one layer only.
        names = {name for numbers in runs_numbers for name in numbers if "/" in name}
        evaluation |= {
            name: _statistics([numbers[name] for numbers in runs_numbers if name in numbers])
            for name in sorted(names)
        }
    for name, statistics in evaluation.items():
        having = [run for run, numbers in zip(group, runs_numbers, strict=True) if name in numbers]
        error = standard_error(runs, having, name) if name.startswith("accuracy") else None
        if error is not None:
            statistics["standard_error"] = error
    return dict(
        network=runs.network(group[0]),
        backbone=group[0].flags.get("backbone"),
        data=runs.data(group[0]),
        seeds=list(dict.fromkeys(run.seed for run in group)),
        runs=[run.name for run in group],
        chance=group[0].chance,
        evaluation=evaluation,
        qualifiers=transfers_lib.qualifiers(runs, group[0]),
    )


def _statistics(values):
    # The mean of equal values may be rounded to beyond them.
    mean = min(max(math.fsum(values) / len(values), min(values)), max(values))
    variance = math.fsum((value - mean) ** 2 for value in values) / max(len(values) - 1, 1)
    return dict(mean=mean, min=min(values), max=max(values), std=math.sqrt(variance), values=values)


def _tell_apart(entries):
    """Adds to equal names of different networks the first qualifier that tells them apart."""
    alike: dict[tuple, list[dict]] = {}
    for entry in entries:
        alike.setdefault((entry["network"], entry.get("task")), []).append(entry)
    for (name, _), group in alike.items():
        choices = list(zip(*(entry.pop("qualifiers") for entry in group), strict=True))
        chosen = next(
            (texts for texts in choices if all(texts) and len(set(texts)) == len(group)),
            choices[-1],
        )
        for entry, text in zip(group, chosen, strict=True):
            entry["network"] = f"{name} ({text})" if len(group) > 1 else name


def _order(network):
    rank = 0 if network.startswith("random") else 2 if "CC+" in network else 1
    # The order is numeric: K=50 comes before K=400.
    return rank, [
        (int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", network)
    ]


def _endpoints(entries):
    """Returns `conv1`, `conv2`, ... of the metrics `accuracy/conv1`, ..., in numeric order."""
    names = {
        name.split("/", 1)[1]
        for entry in entries
        for name in entry["evaluation"]
        if name.startswith("accuracy/")
    }
    return sorted(
        names,
        key=lambda name: [
            int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)
        ],
    )

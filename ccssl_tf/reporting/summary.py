"""The numbers of a set of runs as plain data: what `summary.json` holds, and its tables as text."""

import math
import re

from ccssl_tf.reporting import transfers as transfers_lib
from ccssl_tf.reporting.runs import EVALUATIONS, Run, RunSet

SCHEMA_VERSION = 1
PROBE_DEFINITION = (
    "share of held-out images whose class gets the greatest logit of a linear "
    "classifier on the frozen layer"
)


def summarise(runs: RunSet) -> dict:
    """Returns everything `summary.json` holds; fully determined by the runs, with no time, machine
    or absolute path in it.

    Returns:
      {"runs": [one dict per run], "probes": {task: {"endpoints": [...], "networks": [...]}},
      "evaluations": {task: {"metric": name, "networks": [...]}}, "training": [...], "clusters":
      [...], "transfers": [...]}. Entries of `networks`, `training` and `clusters` are over the
      seeds of one experiment: `seeds`, `runs`, and `evaluation` with {"mean", "min", "max", "std",
        "values"} by metric, `std` being the sample standard deviation (0 for one seed); those of
        `training` have the like of the last training batches in `training`.
      An entry of `transfers` names its `student`, its `teacher` and the entries of the others that
      tell of them.
    """
    groups = {}
    for run in runs.finished:
        if run.task or _numbers(
            run
        ):  # Without held-out images a student has no numbers of its own, but maybe a probe.
            groups.setdefault(runs.identity(run), []).append(run)
    groups = {
        identity: sorted(group, key=lambda run: (run.seed, run.name))
        for identity, group in groups.items()
    }
    probes, evaluations, training, clusters, entries_of = {}, {}, [], [], {}
    for identity, group in groups.items():
        entry = entries_of[identity] = _entry(runs, group)
        if group[0].task and group[0].task.endswith("_probe"):
            probes.setdefault(group[0].task, []).append(entry)
        elif group[0].is_evaluation:
            evaluations.setdefault(group[0].task, []).append(entry)
        elif group[0].task:
            entry |= dict(
                task=group[0].task,
                training=_shared_statistics([run.metrics.get("training", {}) for run in group]),
            )
            training.append(entry)
        elif group[0].module == "ccssl_tf.cluster":
            entry |= dict(network=runs.clustered(group[0]))
            clusters.append(entry)
    for entries in (*probes.values(), *evaluations.values(), training, clusters):
        _tell_apart(entries)
        entries.sort(key=lambda entry: _order(entry["network"]))
    return dict(
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
        transfers=_transfers(runs, groups, entries_of),
    )


def _transfers(runs, groups, entries_of):
    """The students, in order of teacher and number of clusters, each with the names of the entries
    that tell of it.
    """
    found, probed = [], {}
    for identity, group in groups.items():
        if group[0].task and group[0].task.endswith("_probe"):
            of = runs.source(group[0], "init_backbone")
            key = (
                runs.identity(of)
                if of
                else None
                if "init_backbone" in group[0].inputs
                else "random"
            )
            probed.setdefault(key, []).append((group[0].task, entries_of[identity]["network"]))
    for identity, group in groups.items():
        transfer = (
            transfers_lib.transfer_of(runs, group[0])
            if group[0].task and not group[0].is_evaluation
            else None
        )
        if transfer is None:
            continue
        clusters = entries_of.get(transfer.clusters and runs.identity(transfer.clusters))
        who = dict(
            student=identity,
            teacher=transfer.teacher and runs.identity(transfer.teacher),
            random="random",
        )
        found.append(
            dict(
                student=entries_of[identity]["network"],
                task=group[0].task,
                runs=[run.name for run in group],
                teacher=_teacher_name(runs, transfer),
                images=transfers_lib.images_used(runs, transfer),
                features=transfers_lib.describe_features(transfer) if transfer.features else None,
                num_clusters=transfer.clusters.metrics.get("num_clusters")
                if transfer.clusters
                else None,
                clusters=clusters["network"] if clusters else None,
                probes={
                    role: [list(name) for name in probed.get(key, [])] if key else []
                    for role, key in who.items()
                },
            )
        )
    return sorted(
        found,
        key=lambda entry: (
            entry["teacher"],
            entry["task"],
            entry["num_clusters"] or 0,
            entry["student"],
        ),
    )


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
    """The run's final numbers: `evaluation` of a training run; those of a clustering, nested ones
    as `nmi/train`, `max/cluster_size`.
    """
    if run.task:
        found = dict(run.metrics.get("evaluation", {}))
    elif run.module == "ccssl_tf.cluster":
        found = dict(run.metrics)
        groups = dict(found.pop("splits", {}), cluster_size=found.pop("cluster_size", {}))
        found |= {
            f"{name}/{group}": value
            for group, values in groups.items()
            for name, value in values.items()
        }
    else:
        return {}
    return {
        name: float(value)
        for name, value in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _shared_statistics(numbers):
    """Statistics of the metrics that all of the runs have."""
    shared = [name for name in numbers[0] if all(name in of_run for of_run in numbers)]
    return {name: _statistics([of_run[name] for of_run in numbers]) for name in shared}


def _entry(runs, group):
    numbers = [_numbers(run) for run in group]
    # Each run of a nonlinear probe has the numbers of one layer.
    names = (
        {name for of_run in numbers for name in of_run if "/" in name}
        if group[0].task == "nonlinear_probe"
        else set()
    )
    of_layers = {
        name: _statistics([of_run[name] for of_run in numbers if name in of_run])
        for name in sorted(names)
    }
    return dict(
        network=runs.network(group[0]),
        backbone=group[0].flags.get("backbone"),
        data=runs.data(group[0]),
        seeds=list(dict.fromkeys(run.seed for run in group)),
        runs=[run.name for run in group],
        chance=group[0].chance,
        evaluation=_shared_statistics(numbers) | of_layers,
        qualifiers=transfers_lib.qualifiers(runs, group[0]),
    )


def _statistics(values):
    # Rounded, the mean of equal values may lie beyond them.
    mean = min(max(math.fsum(values) / len(values), min(values)), max(values))
    variance = math.fsum((value - mean) ** 2 for value in values) / max(len(values) - 1, 1)
    return dict(mean=mean, min=min(values), max=max(values), std=math.sqrt(variance), values=values)


def _tell_apart(entries):
    """Different experiments whose networks have one name get the first of their qualifiers added
    that tells them apart.
    """
    alike = {}
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
    # In numeric order: K=50 before K=400.
    return rank, [
        (int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", network)
    ]


def _endpoints(entries):
    """`conv1`, `conv2`, ... of the metrics `accuracy/conv1`, ...: in numeric order."""
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


def percent(statistics: dict | None, *, spread: bool = True) -> str:
    """Returns e.g. `34.1`, over several seeds `34.1 (33.0-35.2)`: mean, least and greatest, in %; a
    dash for None.
    """
    if statistics is None:
        return "-"
    text = f"{100 * statistics['mean']:.1f}"
    if spread and len(statistics["values"]) > 1:
        text += f" ({100 * statistics['min']:.1f}-{100 * statistics['max']:.1f})"
    return text


def seeds_of(entries: list[dict]) -> str:
    """Returns e.g. `seed 0` or `seeds 0, 1, 2`: those of all the entries."""
    seeds = sorted({seed for entry in entries for seed in entry["seeds"]})
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"


def format_probe_tables(summary: dict) -> str:
    """Returns the tables of probes and other evaluations as text for a terminal, "" when there are
    none.
    """
    blocks = []
    for task, table in summary["probes"].items():
        rows = [["", *table["endpoints"]]]
        for entry in table["networks"]:
            cells = [
                percent(entry["evaluation"].get(f"accuracy/{endpoint}"))
                for endpoint in table["endpoints"]
            ]
            rows.append([entry["network"], *cells])
        blocks.append(_block(f"{task}: accuracy on held-out images", rows, table["networks"]))
    for task, table in summary["evaluations"].items():
        names = {
            name: None
            for entry in table["networks"]
            for name in entry["evaluation"]
            if "/" not in name and name != "loss"
        }
        columns = [
            table["metric"],
            *(name for name in names if name.startswith("mean_") and name != table["metric"]),
        ][:4]
        rows = [
            [
                "",
                *(
                    name.replace("mean_average_precision", "mAP").replace("_", " ")
                    for name in columns
                ),
            ]
        ]
        rows += [
            [entry["network"], *(percent(entry["evaluation"].get(name)) for name in columns)]
            for entry in table["networks"]
        ]
        blocks.append(
            _block(f"{task}: {table['metric'].replace('_', ' ')}", rows, table["networks"])
        )
    return "\n".join(blocks)


def _block(title, rows, entries):
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]
    over = seeds_of(entries)
    over = f"mean (min-max) of {over}" if over.startswith("seeds") else over
    return "\n".join([f"{title} in %, {over}", *(f"  {line}" for line in lines), ""])

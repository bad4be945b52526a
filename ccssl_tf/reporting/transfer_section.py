"""The report's section on knowledge transfer: all students in one table, then each of them."""

from ccssl_tf.reporting import cluster_section
from ccssl_tf.reporting.elements import Cell, CellLike, Table, figure, table
from ccssl_tf.reporting.run import Run
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.reporting.student_table import (
    accuracy_of,
    clusters_of,
    layers_of,
    probes_of,
    student_table,
    training_of,
)
from ccssl_tf.reporting.text import chance_of, error_of, percent_over_seeds
from ccssl_tf.reporting.transfers import describe_images


def section(runs: RunSet, summary: dict, drawings: dict) -> dict | None:
    """Returns the data of `transfers.html.j2`, None where nobody was taught.

    Args:
      runs: the runs reported on.
      summary: `summary.summarise(runs)`.
      drawings: "students": {run: curves}, "sizes": {run of clusters: histogram}.
    """
    transfers = summary["transfers"]
    if not transfers:
        return None
    # Clusters that several students learned are pictured with the first of them.
    first_student = {entry["clusters"]: entry["student"] for entry in reversed(transfers)}
    return dict(
        title="Knowledge transfer: what students learned from their teachers",
        table=_table(summary) if len(transfers) > 1 else None,
        students=[
            _student(runs, summary, entry, drawings, first_student[entry["clusters"]])
            for entry in transfers
        ],
    )


def _table(summary: dict) -> Table:
    head, rows = student_table(summary)
    return table(
        head,
        [
            [Cell((student,), (describe_images(entry["images"]),)), *others]
            for (student, *others), entry in zip(rows, summary["transfers"], strict=True)
        ],
    )


def _student(runs: RunSet, summary: dict, entry: dict, drawings: dict, pictured_with: str) -> dict:
    run, clusters = runs.named(entry["runs"][0]), clusters_of(summary, entry)
    facts = dict(Teacher=entry["teacher"], Images=describe_images(entry["images"]))
    if entry["features"]:
        facts["Features"] = entry["features"]
    figures = []
    if clusters:
        facts["Clusters"] = _describe_clusters(clusters)
        if pictured_with == entry["student"]:
            clustering = runs.named(clusters["runs"][0])
            figures += cluster_section.pictures(clustering, entry["teacher"], drawings)
        else:
            facts["Clusters"] += f"; pictures: see {pictured_with}"
    facts["Student"] = _describe_student(run, training_of(summary, entry))
    if run.name in drawings.get("students", {}):
        figures.append(
            figure(
                drawings["students"][run.name],
                "The student: training batches (line), held-out images (dots).",
                alternative=f"Curves of {entry['student']}",
            )
        )
    return dict(
        name=entry["student"],
        facts=facts,
        figures=figures,
        tables=_probe_tables(summary, entry),
    )


def _describe_clusters(clusters: dict) -> str:
    numbers = {name: statistics["mean"] for name, statistics in clusters["evaluation"].items()}
    parts = []
    if "num_clusters" in numbers:
        parts.append(f"K = {numbers['num_clusters']:,.0f}")
    if "min/cluster_size" in numbers:
        low, middle, high = (
            numbers.get(f"{name}/cluster_size", 0) for name in ("min", "median", "max")
        )
        parts.append(f"{low:,.0f} to {high:,.0f} images, median {middle:,.4g}")
    if "perplexity/cluster_size" in numbers:
        parts.append(f"as uneven as {numbers['perplexity/cluster_size']:,.0f} equal ones")
    if numbers.get("empty_clusters"):
        parts.append(f"{numbers['empty_clusters']:,.0f} empty")
    for split in ("train", "val"):
        names = {f"{name}/{split}": label for name, label in cluster_section.AGREEMENT.items()}
        if all(name in numbers for name in names):
            agreement = (f"{label} {numbers[name]:.3f}" for name, label in names.items())
            parts.append(f"{', '.join(agreement)} ({split})")
    return "; ".join(parts)


def _describe_student(run: Run, training: dict) -> str:
    steps = run.metrics.get("step", "?")
    parts = [f"{training['backbone'] or 'a network'} trained for {steps} steps"]
    for label, part in (("training batches", "training"), ("held-out images", "evaluation")):
        if "accuracy" in training[part]:
            parts.append(f"{percent_over_seeds(training[part]['accuracy'])}% right on {label}")
    chance = chance_of(training)
    if chance != "-":
        parts.append(f"chance {chance}")
    return ", ".join(parts)


def _probe_tables(summary: dict, entry: dict) -> list[Table]:
    """Returns a table of random network, teacher and student for each kind of probe.

    Networks whose layers have other names, as VGG16's have, get a table of their own.
    """
    tables = []
    for task in summary["probes"]:
        # The keys are layers, then networks; the values are role and probe.
        groups: dict[tuple[str, ...], dict[str, tuple[str, dict]]] = {}
        for role in ("random", "teacher", "student"):
            for probed_task, probe in probes_of(summary, entry, role):
                if probed_task == task:
                    layers = tuple(layers_of(summary, task, [probe]))
                    groups.setdefault(layers, {})[probe["network"]] = (role, probe)
        roles = {role for group in groups.values() for role, _ in group.values()}
        if not roles - {"random"}:
            continue
        for layers, group in groups.items():
            rows: list[list[CellLike]] = [
                [
                    Cell((network,), (role,)),
                    *(_accuracy(probe, layer) for layer in layers),
                ]
                for network, (role, probe) in group.items()
            ]
            tables.append(table([task.replace("_", " "), *layers], rows))
    return tables


def _accuracy(probe: dict, layer: str) -> str:
    statistics = accuracy_of(probe, layer)
    return percent_over_seeds(statistics) + error_of(statistics or {})

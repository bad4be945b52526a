"""The report's section on knowledge transfer: a table over all students, then each with its
teacher, clusters, curves and probes.
"""

from ccssl_tf.reporting import cluster_section, transfers
from ccssl_tf.reporting.elements import chance_of, figure, table, text
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.reporting.summary import percent

_AGREEMENT = ("purity", "nmi")


def section(runs: RunSet, summary: dict, drawings: dict) -> str:
    """Returns the section as HTML, "" where nobody was taught.

    Args:
      runs: the runs reported on.
      summary: `summary.summarise(runs)`.
      drawings: of `ccssl_tf.report`: "students": {run: curves}, "sizes": {run of clusters:
        histogram}.
    """
    if not summary["transfers"]:
        return ""
    several = _overview(summary) if len(summary["transfers"]) > 1 else ""
    # Clusters that several students learned are pictured with the first of them.
    first = {entry["clusters"]: entry["student"] for entry in reversed(summary["transfers"])}
    return (
        "<h2>Knowledge transfer: what students learned from their teachers</h2>\n"
        "<p>A student gets none of the teacher's weights: it learns clusters of its features, as "
        "pseudo-labels, or its activations.</p>\n"
        + several
        + "".join(
            _transfer(runs, summary, entry, drawings, first[entry["clusters"]])
            for entry in summary["transfers"]
        )
    )


def _training(summary, entry):
    return next(
        one
        for one in summary["training"]
        if (one["network"], one["task"]) == (entry["student"], entry["task"])
    )


def clusters_of(summary: dict, entry: dict) -> dict | None:
    """Returns the entry of `summary["clusters"]` that a transfer learned, None where it learned
    something else.
    """
    return next((one for one in summary["clusters"] if one["network"] == entry["clusters"]), None)


def _probed(summary, entry, role):
    """Returns (task, entry of the probe) of the student, the teacher or the random networks."""
    for task, network in entry["probes"][role]:
        yield (
            task,
            next(one for one in summary["probes"][task]["networks"] if one["network"] == network),
        )


def _layers(summary, task, entries):
    """The endpoints, in order, that one of the entries has."""
    return [
        name
        for name in summary["probes"][task]["endpoints"]
        if any(f"accuracy/{name}" in one["evaluation"] for one in entries)
    ]


def overview(summary: dict) -> tuple[list[str], list[list[str]]]:
    """Returns head and rows of text, one row for each student: the paper's Tables 1 and 2,
    whichever was varied.
    """
    probes = {
        entry["student"]: next(
            (one for task, one in _probed(summary, entry, "student") if task == "linear_probe"),
            None,
        )
        for entry in summary["transfers"]
    }
    found = [one for one in probes.values() if one]
    layers = _layers(summary, "linear_probe", found) if found else []
    rows = []
    for entry in summary["transfers"]:
        training, clusters, probe = (
            _training(summary, entry),
            clusters_of(summary, entry),
            probes[entry["student"]],
        )
        rows.append(
            [
                entry["student"],
                entry["teacher"],
                str(entry["num_clusters"] or "-"),
                *(_agreement(clusters, name) for name in _AGREEMENT),
                percent(training["training"].get("accuracy")),
                percent(training["evaluation"].get("accuracy")),
                *(
                    percent(probe["evaluation"].get(f"accuracy/{layer}")) if probe else "-"
                    for layer in layers
                ),
            ]
        )
    return ["", "teacher", "K", "purity", "NMI", "train", "held out", *layers], rows


def format_overview(summary: dict) -> str:
    """Returns the overview as text for a terminal, "" with fewer than two students."""
    if len(summary["transfers"]) < 2:
        return ""
    head, rows = overview(summary)
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), row[1].ljust(widths[1]), *map(str.rjust, row[2:], widths[2:])]
        )
        for row in (head, *rows)
    ]
    title = (
        "transfers: purity and NMI of the clusters, share of pseudo-labels predicted and "
        "linear probes of the student in %"
    )
    return "\n".join([title, *(f"  {line.rstrip()}" for line in lines), ""])


def _overview(summary):
    head, rows = overview(summary)
    for row, entry in zip(rows, summary["transfers"], strict=True):
        row[:] = [
            f"{text(row[0])}<small>{text(transfers.describe_images(entry['images']))}</small>",
            *map(text, row[1:]),
        ]
    return table(list(map(text, head)), rows) + (
        '<p class="note">Purity and NMI of clusters and classes: of val where it was labelled, '
        "else of train. Train, held out: share of "
        "pseudo-labels predicted, in %. Layers: linear probes of the student, in %. More than one "
        "seed: mean (least-greatest).</p>\n"
    )


def _agreement(clusters, name):
    numbers = clusters["evaluation"] if clusters else {}
    found = numbers.get(f"{name}/val", numbers.get(f"{name}/train"))
    return f"{found['mean']:.3f}" if found else "-"


def _transfer(runs, summary, entry, drawings, pictured_with):
    by_name = {run.name: run for run in runs.runs}
    training, clusters = _training(summary, entry), clusters_of(summary, entry)
    facts = dict(
        Teacher=text(entry["teacher"]), Images=text(transfers.describe_images(entry["images"]))
    )
    if entry["features"]:
        facts["Features"] = text(entry["features"])
    if clusters:
        facts["Clusters"] = _describe_clusters(clusters)
        if pictured_with != entry["student"]:
            facts["Clusters"] += f"; pictures: see {text(pictured_with)}"
    facts["Student"] = _describe_student(by_name[entry["runs"][0]], training)
    parts = [
        f"<h3>{text(entry['student'])}</h3>\n<dl>"
        + "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts.items())
        + "</dl>\n"
    ]
    if clusters and pictured_with == entry["student"]:
        parts.append(
            cluster_section.pictures(by_name[clusters["runs"][0]], entry["teacher"], drawings)
        )
    if entry["runs"][0] in drawings.get("students", {}):
        caption = "The student: training batches (line), held-out images (dots)."
        parts.append(
            figure(drawings["students"][entry["runs"][0]], caption, f"Curves of {entry['student']}")
        )
    return "".join(parts) + _layer_by_layer(summary, entry)


def _describe_clusters(clusters):
    numbers = {name: values["mean"] for name, values in clusters["evaluation"].items()}
    parts = [f"K = {numbers['num_clusters']:,.0f}" if "num_clusters" in numbers else ""]
    if "min/cluster_size" in numbers:
        low, middle, high = (
            numbers.get(f"{name}/cluster_size", 0) for name in ("min", "median", "max")
        )
        parts.append(f"{low:,.0f} to {high:,.0f} images, median {middle:,.4g}")
    if "perplexity/cluster_size" in numbers:
        parts.append(f"as uneven as {numbers['perplexity/cluster_size']:,.0f} equal ones")
    parts.append(f"{numbers['empty_clusters']:,.0f} empty" if numbers.get("empty_clusters") else "")
    agreement = {
        split: ", ".join(
            f"{label} {numbers[f'{name}/{split}']:.3f}"
            for name, label in cluster_section.AGREEMENT.items()
        )
        for split in ("train", "val")
        if all(f"{name}/{split}" in numbers for name in cluster_section.AGREEMENT)
    }
    parts += [f"{values} ({split})" for split, values in agreement.items()]
    return text("; ".join(filter(None, parts)))


def _describe_student(run, training):
    parts = [
        f"{training['backbone'] or 'a network'} trained for {run.metrics.get('step', '?')} steps"
    ]
    for label, part in (("training batches", "training"), ("held-out images", "evaluation")):
        if "accuracy" in training[part]:
            parts.append(f"{percent(training[part]['accuracy'])}% right on {label}")
    if chance_of(training) != "-":
        parts.append(f"chance {chance_of(training)}")
    return text(", ".join(parts))


def _layer_by_layer(summary, entry):
    """A table for each kind of probe and, since VGG16's layers have other names, each set of
    layers.
    """
    parts = []
    for task in summary["probes"]:
        groups = {}
        for role in ("random", "teacher", "student"):
            for found, probe in _probed(summary, entry, role):
                if found == task:
                    groups.setdefault(tuple(_layers(summary, task, [probe])), {})[
                        probe["network"]
                    ] = (role, probe)
        if not any(role != "random" for group in groups.values() for role, _ in group.values()):
            continue
        for layers, group in groups.items():
            rows = [
                [
                    f"{text(name)}<small>{role}</small>",
                    *(percent(probe["evaluation"].get(f"accuracy/{layer}")) for layer in layers),
                ]
                for name, (role, probe) in group.items()
            ]
            parts.append(table([text(task.replace("_", " ")), *map(text, layers)], rows))
    return "".join(parts)

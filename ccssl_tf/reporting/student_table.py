"""The table of all students, one row each: the paper's Tables 1 and 2, whichever was varied."""

from collections.abc import Iterator

from ccssl_tf.reporting.text import percent_over_seeds

_AGREEMENT = ("purity", "nmi")


def student_table(summary: dict) -> tuple[list[str], list[list[str]]]:
    """Returns head and rows of text, a row for each of `summary["transfers"]`."""
    probes = [_linear_probe_of(summary, entry) for entry in summary["transfers"]]
    layers = layers_of(summary, "linear_probe", [probe for probe in probes if probe])
    rows = []
    for entry, probe in zip(summary["transfers"], probes, strict=True):
        training, clusters = training_of(summary, entry), clusters_of(summary, entry)
        rows.append(
            [
                entry["student"],
                entry["teacher"],
                str(entry["num_clusters"] or "-"),
                *(_agreement(clusters, name) for name in _AGREEMENT),
                percent_over_seeds(training["training"].get("accuracy")),
                percent_over_seeds(training["evaluation"].get("accuracy")),
                *(percent_over_seeds(accuracy_of(probe, layer)) for layer in layers),
            ]
        )
    return ["", "teacher", "K", "purity", "NMI", "train", "held out", *layers], rows


def training_of(summary: dict, transfer: dict) -> dict:
    """Returns the entry of `summary["training"]` that is the student's."""
    return next(
        entry
        for entry in summary["training"]
        if (entry["network"], entry["task"]) == (transfer["student"], transfer["task"])
    )


def clusters_of(summary: dict, transfer: dict) -> dict | None:
    """Returns the entry of `summary["clusters"]` that the student learned, None if it is not there.

    A student that learned activations of its teacher has none.
    """
    return next(
        (entry for entry in summary["clusters"] if entry["network"] == transfer["clusters"]), None
    )


def probes_of(summary: dict, transfer: dict, role: str) -> Iterator[tuple[str, dict]]:
    """Yields (task, entry of `summary["probes"]`) of the probes of one of the networks.

    Args:
      summary: `summary.summarise(runs)`.
      transfer: one of `summary["transfers"]`.
      role: "student", "teacher" or "random".
    """
    for task, network in transfer["probes"][role]:
        networks = summary["probes"][task]["networks"]
        yield task, next(entry for entry in networks if entry["network"] == network)


def layers_of(summary: dict, task: str, entries: list[dict]) -> list[str]:
    """Returns the layers, in order, that at least one of the entries of a kind of probe has."""
    endpoints = summary["probes"].get(task, {}).get("endpoints", [])
    return [layer for layer in endpoints if any(accuracy_of(entry, layer) for entry in entries)]


def accuracy_of(probe: dict | None, layer: str) -> dict | None:
    """Returns the statistics of a probe's accuracy on a layer, None where it has none."""
    return probe["evaluation"].get(f"accuracy/{layer}") if probe else None


def _linear_probe_of(summary: dict, transfer: dict) -> dict | None:
    probes = probes_of(summary, transfer, "student")
    return next((probe for task, probe in probes if task == "linear_probe"), None)


def _agreement(clusters: dict | None, name: str) -> str:
    numbers = clusters["evaluation"] if clusters else {}
    statistics = numbers.get(f"{name}/val", numbers.get(f"{name}/train"))
    return f"{statistics['mean']:.3f}" if statistics else "-"

"""The report's section on one kind of probe: what each layer of the networks knows."""

from ccssl_tf.reporting.elements import Cell, figure, table
from ccssl_tf.reporting.examples import first_examples
from ccssl_tf.reporting.notes import how
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.reporting.text import percent, percent_range, seeds_of

_DEFINITION = (
    "share of held-out images whose class gets the greatest logit of a linear "
    "classifier on the frozen layer"
)


def section(runs: RunSet, summary: dict, task: str, drawings: dict, reference: dict | None) -> dict:
    """Returns the data of `probes.html.j2`.

    Args:
      runs: the runs reported on.
      summary: `summary.summarise(runs)`.
      task: the kind of probe, a key of `summary["probes"]`.
      drawings: "probes": {task: pictures}.
      reference: an earlier summary whose ranges are shown beside the numbers, or None.
    """
    endpoints, entries = summary["probes"][task]["endpoints"], summary["probes"][task]["networks"]
    references = _references(task, entries, reference)
    ranges = {
        (entry["network"], name): percent_range(statistics, "–")
        for entry in references
        for name, statistics in entry["evaluation"].items()
    }
    names = [f"accuracy/{endpoint}" for endpoint in endpoints]
    best = {
        name: max((mean for entry in entries for mean in _means(entry, [name])), default=None)
        for name in names
    }
    rows = [
        [
            entry["network"],
            *(
                _cell(entry, name, best[name], ranges.get((entry["network"], name)))
                for name in names
            ),
        ]
        for entry in entries
    ]
    several_seeds = any(len(entry["seeds"]) > 1 for entry in entries)
    return dict(
        task=task,
        several_seeds=several_seeds,
        has_reference=reference is not None,
        reference_seeds=seeds_of(references) if references else None,
        table=table(["", *endpoints], rows),
        figure=figure(
            drawings["probes"][task],
            "Accuracy by layer." + (" Bars: range over seeds." if several_seeds else ""),
            alternative="Accuracy by layer",
        ),
        how=how(runs, entries, _DEFINITION),
        examples=first_examples(
            runs, sorted(entries, key=lambda entry: -max(_means(entry, names), default=-1))
        ),
    )


def _cell(entry: dict, name: str, best: float | None, reference_range: str | None) -> Cell:
    statistics = entry["evaluation"].get(name)
    small = []
    if statistics and len(statistics["values"]) > 1:
        small.append(percent_range(statistics, "–"))
    top5 = entry["evaluation"].get(name.replace("accuracy/", "top5/"))
    if top5:
        small.append(f"top-5 {percent(top5['mean'])}")
    if reference_range:
        small.append(f"ref. {reference_range}")
    return Cell(
        (percent(statistics["mean"]) if statistics else "-",),
        tuple(small),
        strong=bool(statistics) and statistics["mean"] == best,
    )


def _means(entry: dict, names: list[str]) -> list[float]:
    return [entry["evaluation"][name]["mean"] for name in names if name in entry["evaluation"]]


def _references(task: str, entries: list[dict], reference: dict | None) -> list[dict]:
    """Returns the entries of the reference that were measured on the same images."""
    if reference is None:
        return []
    data = {entry["data"] for entry in entries}
    networks = reference["probes"].get(task, {}).get("networks", [])
    return [entry for entry in networks if entry["data"] in data]

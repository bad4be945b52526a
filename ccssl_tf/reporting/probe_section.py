"""The report's section on one kind of probe: what each layer of the networks knows."""

from ccssl_tf.reporting.accuracy_errors import gap
from ccssl_tf.reporting.elements import Cell, figure, table
from ccssl_tf.reporting.examples import first_examples
from ccssl_tf.reporting.figures import bars_of
from ccssl_tf.reporting.notes import how
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.reporting.text import error_of, percent, percent_range, seeds_of

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
    best = {name: _best(runs, entries, name) for name in names}
    rows = [
        [
            entry["network"],
            *(
                _cell(entry, name, best[name] is entry, ranges.get((entry["network"], name)))
                for name in names
            ),
        ]
        for entry in entries
    ]
    several_seeds = any(len(entry["seeds"]) > 1 for entry in entries)
    title = f"{task.replace('_', ' ').capitalize()}s: what each layer knows"
    means = {name: [statistics["mean"] for statistics in _all(entries, name)] for name in names}
    return dict(
        title=title,
        task=task,
        several_seeds=several_seeds,
        has_top5=any(name.startswith("top5/") for entry in entries for name in entry["evaluation"]),
        has_reference=reference is not None,
        reference_seeds=seeds_of(references) if references else None,
        table=table(["", *endpoints], rows),
        figure=figure(
            drawings["probes"][task],
            f"Accuracy by layer. {bars_of(summary['probes'][task]).capitalize()}.",
            alternative="Accuracy by layer, a line for each network; from "
            f"{percent(min(map(min, means.values())))} to "
            f"{percent(max(map(max, means.values())))}%, the numbers of the table",
        ),
        how=how(runs, entries, _DEFINITION),
        examples=first_examples(
            runs, sorted(entries, key=lambda entry: -max(_means(entry, names), default=-1))
        ),
    )


def _all(entries: list[dict], name: str) -> list[dict]:
    return [entry["evaluation"][name] for entry in entries if name in entry["evaluation"]]


def _best(runs: RunSet, entries: list[dict], name: str) -> dict | None:
    """Returns the entry that is better than each of the others by more than noise, if one is."""
    having = sorted(
        (entry for entry in entries if name in entry["evaluation"]),
        key=lambda entry: -entry["evaluation"][name]["mean"],
    )
    gaps = [gap(runs, having[0], other, name) for other in having[1:]]
    is_clear = bool(gaps) and all(one is not None and one.is_beyond_noise for one in gaps)
    return having[0] if is_clear else None


def _cell(entry: dict, name: str, is_best: bool, reference_range: str | None) -> Cell:
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
        (percent(statistics["mean"]) + error_of(statistics) if statistics else "-",),
        tuple(small),
        strong=is_best,
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

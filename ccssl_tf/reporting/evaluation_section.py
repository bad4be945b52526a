"""The report's section on one evaluation by fine-tuning: its numbers, and what the best drew."""

from ccssl_tf.reporting.elements import table
from ccssl_tf.reporting.examples import first_examples
from ccssl_tf.reporting.notes import how
from ccssl_tf.reporting.run import EVALUATIONS
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.reporting.text import metric_label, percent, percent_over_seeds


def section(runs: RunSet, summary: dict, task: str) -> dict:
    """Returns the data of `evaluation.html.j2`.

    Args:
      runs: the runs reported on.
      summary: `summary.summarise(runs)`.
      task: a key of `summary["evaluations"]`.
    """
    main_metric, title = EVALUATIONS[task]
    entries = summary["evaluations"][task]["networks"]
    # A dict keeps the order of the names. Those with a slash are of single classes.
    other_metrics = {
        name: None
        for entry in entries
        for name in entry["evaluation"]
        if "/" not in name and name not in (main_metric, "loss")
    }
    metrics = [main_metric, *other_metrics]
    rows = [
        [
            entry["network"],
            *(percent_over_seeds(entry["evaluation"].get(name)) for name in metrics),
            f"{percent(entry['chance'])}%" if entry["chance"] else "-",
            str(runs.named(entry["runs"][0]).metrics.get("step", "-")),
        ]
        for entry in entries
    ]
    best_first = sorted(
        entries, key=lambda entry: -entry["evaluation"].get(main_metric, {}).get("mean", -1)
    )
    return dict(
        title=title,
        metric=main_metric,
        table=table(["", *map(metric_label, metrics), "chance", "steps"], rows),
        how=how(runs, entries, main_metric.replace("_", " ")),
        examples=first_examples(runs, best_first),
    )

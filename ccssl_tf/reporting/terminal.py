"""The tables that a command prints when it is done."""

from ccssl_tf.reporting.student_table import student_table
from ccssl_tf.reporting.text import metric_label, percent_over_seeds, seeds_of, table_lines

# A terminal has no room for more columns.
_MAX_METRICS = 4


def format_probe_tables(summary: dict) -> str:
    """Returns the tables of probes and other evaluations, "" when there are none."""
    blocks = []
    for task, table in summary["probes"].items():
        metrics = [f"accuracy/{endpoint}" for endpoint in table["endpoints"]]
        title = f"{task}: accuracy on held-out images"
        blocks.append(_block(title, table["networks"], metrics, table["endpoints"]))
    for task, table in summary["evaluations"].items():
        # A dict keeps the order of the names.
        means = {
            name: None
            for entry in table["networks"]
            for name in entry["evaluation"]
            if name.startswith("mean_") and "/" not in name and name != table["metric"]
        }
        metrics = [table["metric"], *means][:_MAX_METRICS]
        title = f"{task}: {table['metric'].replace('_', ' ')}"
        blocks.append(_block(title, table["networks"], metrics, list(map(metric_label, metrics))))
    return "\n".join(blocks)


def _block(title: str, entries: list[dict], metrics: list[str], labels: list[str]) -> str:
    rows = [
        [entry["network"], *(percent_over_seeds(entry["evaluation"].get(name)) for name in metrics)]
        for entry in entries
    ]
    seeds = seeds_of(entries)
    spread = f"mean (min-max) of {seeds}" if seeds.startswith("seeds") else seeds
    return "\n".join([f"{title} in %, {spread}", *table_lines([["", *labels], *rows]), ""])


def format_overview(summary: dict) -> str:
    """Returns the table of all students, "" with fewer than two."""
    if len(summary["transfers"]) < 2:
        return ""
    title = (
        "transfers: purity and NMI of the clusters, share of pseudo-labels predicted and "
        "linear probes of the student in %"
    )
    head, rows = student_table(summary)
    return "\n".join([title, *table_lines([head, *rows], left=2), ""])

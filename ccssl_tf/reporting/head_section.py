"""The report's head: how many runs there are, on which images, and their main numbers."""

from collections.abc import Iterator

from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.reporting.text import percent


def section(runs: RunSet, summary: dict) -> dict:
    """Returns the data of `head.html.j2`."""
    tables = [*summary["probes"].values(), *summary["evaluations"].values()]
    images = sorted({entry["data"] for table in tables for entry in table["networks"]})
    return dict(
        finished=len(runs.finished),
        unfinished=[run.name for run in runs.runs if not run.finished],
        images=images or sorted({entry["data"] for entry in summary["training"]}),
        numbers=[*_held_out_accuracies(summary), *_best_probes(summary)],
    )


def _held_out_accuracies(summary: dict) -> Iterator[dict[str, str]]:
    for entry in summary["training"]:
        accuracy = entry["evaluation"].get("accuracy")
        if not accuracy or entry["task"] == "cluster_classification":
            continue
        question = (
            "puzzles solved"
            if entry["task"].startswith("jigsaw")
            else f"answers right on {entry['task'].replace('_', ' ')}"
        )
        chance = f" (chance {percent(entry['chance'])}%)" if entry["chance"] else ""
        yield dict(
            value=f"{percent(accuracy['mean'])}%",
            meaning=f"of held-out {question} by {entry['network']}{chance}",
        )


def _best_probes(summary: dict) -> Iterator[dict[str, str]]:
    for table in summary["probes"].values():
        for entry in table["networks"]:
            means = {
                endpoint: entry["evaluation"][f"accuracy/{endpoint}"]["mean"]
                for endpoint in table["endpoints"]
                if f"accuracy/{endpoint}" in entry["evaluation"]
            }
            if means:
                best = max(means, key=lambda endpoint: means[endpoint])
                yield dict(
                    value=f"{percent(means[best])}%",
                    meaning=f"best probe of {entry['network']}, on {best}",
                )

"""The report's head: the method, what went in and out, and what the runs say of it."""

from collections.abc import Iterator

from ccssl_tf.reporting.data_sets import data_set_name, image_counts
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.reporting.student_table import training_of
from ccssl_tf.reporting.text import percent, percent_with_error

# Word -> its meaning; a word is explained where a network is called so.
_NETWORKS = {
    "random": "a network that has learned nothing: what its layers show comes from their form.",
    "Jigsaw++": "a network that learned to put the nine shuffled tiles of a photo in order, up to "
    "two of which may be from another photo.",
    "vgg-": "the network is a VGG16, large; without it, it is an AlexNet or another small one.",
    "CC+": "cluster classification (CC): the student that learned the clusters of the features of "
    "the network after the plus sign.",
    "HOG": "histograms of oriented gradients: features made by hand, which nobody trained.",
}
_MAX_NETWORKS = 4
_ALWAYS = {
    "conv1, conv2, ...": "the convolutional layers of a network, from the first to the last.",
    "±": "one standard error: how far the number would be off by chance, with other held-out "
    "photos and, where several seeds were run, with other seeds. Two numbers are told apart where "
    "they differ by more than two standard errors of their difference; only then is one bold.",
}


def section(runs: RunSet, summary: dict) -> dict:
    """Returns the data of `head.html.j2`."""
    tables = [*summary["probes"].values(), *summary["evaluations"].values()]
    entries = [entry for table in tables for entry in table["networks"]] + summary["training"]
    names = " ".join(entry["network"] for entry in entries)
    dates = sorted({run.date for run in runs.finished if run.date})
    return dict(
        finished=len(runs.finished),
        unfinished=[run.name for run in runs.runs if not run.finished],
        left_out=runs.left_out,
        dates=dates if len(dates) < 2 else [dates[0], dates[-1]],
        made_by=sorted({", ".join(run.made_by) for run in runs.finished if run.made_by}),
        verdicts=summary["verdicts"],
        facts=_facts(runs, summary),
        numbers=[*_held_out_accuracies(summary), *_best_probes(summary)],
        words={word: meaning for word, meaning in _NETWORKS.items() if word in names} | _ALWAYS,
    )


def _facts(runs: RunSet, summary: dict) -> dict[str, str]:
    facts = {"In": "; ".join(_images(runs))}
    numbers = [
        f"{entry['evaluation']['num_clusters']['mean']:,.0f} clusters of {entry['network']}"
        for entry in summary["clusters"]
        if "num_clusters" in entry["evaluation"]
    ]
    numbers += [_student(runs, summary, transfer) for transfer in summary["transfers"]]
    if numbers:
        facts["Out"] = "; ".join(numbers)
    return {term: fact for term, fact in facts.items() if fact}


def _images(runs: RunSet) -> list[str]:
    """Returns e.g. `shapes: 3,000 train, 600 val` for all images that were read."""
    readers = {
        run.inputs["data_dir"]["fingerprint"]: run
        for run in runs.finished
        if "data_dir" in run.inputs
    }
    texts = []
    for run in readers.values():
        counts = image_counts(runs, run)
        splits = ", ".join(f"{count:,} {split}" for split, count in counts.items())
        name = data_set_name(runs, run.inputs["data_dir"])
        texts.append(f"{name}: {splits} images" if splits else name)
    return sorted(set(texts))


def _student(runs: RunSet, summary: dict, transfer: dict) -> str:
    backbone = training_of(summary, transfer)["backbone"]
    parameters = runs.named(transfer["runs"][0]).metrics.get("num_parameters")
    facts = [backbone] if backbone else []
    facts += [f"{parameters / 1e6:.1f} million parameters"] if parameters else []
    told = f" ({', '.join(facts)})" if facts else ""
    return f"the student {transfer['student']}{told}"


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
        chance = f" (guessing: {percent(entry['chance'])}%)" if entry["chance"] else ""
        yield dict(
            value=percent_with_error(accuracy),
            meaning=f"of held-out {question} by {entry['network']}{chance}",
        )


def _best_probes(summary: dict) -> Iterator[dict[str, str]]:
    """Yields the best layer of each network, where they are not too many to be taken in at once."""
    for table in summary["probes"].values():
        for entry in table["networks"] if len(table["networks"]) <= _MAX_NETWORKS else ():
            statistics = {
                endpoint: entry["evaluation"][f"accuracy/{endpoint}"]
                for endpoint in table["endpoints"]
                if f"accuracy/{endpoint}" in entry["evaluation"]
            }
            if statistics:
                best = max(statistics, key=lambda endpoint: statistics[endpoint]["mean"])
                yield dict(
                    value=percent_with_error(statistics[best]),
                    meaning=f"best probe of {entry['network']}, on {best}",
                )

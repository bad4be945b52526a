"""The report's section on clusters: their numbers, their sizes, the images nearest their centres
(Figure 5 of the paper).
"""

from ccssl_tf.reporting.elements import figure, table, text
from ccssl_tf.reporting.runs import Run, RunSet
from ccssl_tf.reporting.summary import seeds_of

_NUMBERS = {"num_clusters": "clusters", "num_examples": "images", "empty_clusters": "empty"}
AGREEMENT = {"nmi": "NMI", "ari": "ARI", "purity": "purity"}


def section(runs: RunSet, summary: dict, drawings: dict) -> str:
    """Returns the table of all clusterings and the pictures of those that no student learned, ""
    where there are none.
    """
    if not summary["clusters"]:
        return ""
    by_name = {run.name: run for run in runs.runs}
    found = {name for entry in summary["clusters"] for name in entry["evaluation"]}
    head = {name: label for name, label in _NUMBERS.items() if name in found}
    splits = sorted(
        {name.split("/")[1] for name in found if name.startswith("num_examples/")},
        key=lambda split: (split != "train", split),
    )
    agreements = [name for name in AGREEMENT if any(f"{name}/{split}" in found for split in splits)]
    learned = {entry["clusters"] for entry in summary["transfers"]}
    rows, pictured = [], []
    for entry in summary["clusters"]:
        run, numbers = by_name[entry["runs"][0]], entry["evaluation"]
        sizes = " / ".join(
            number(numbers.get(f"{name}/cluster_size")) for name in ("min", "median", "max")
        )
        cells = [number(numbers.get(name)) for name in head]
        for name in agreements:
            keys = {split: f"{name}/{split}" for split in splits if f"{name}/{split}" in numbers}
            cells.append(
                "<br>".join(
                    f"{numbers[key]['mean']:.3f} ({text(split)})" for split, key in keys.items()
                )
            )
        rows.append([text(entry["network"]), *cells, sizes])
        if entry["network"] not in learned:
            pictured.append(pictures(run, entry["network"], drawings))
    agreement = (
        " NMI: mutual information of clusters and classes over the arithmetic mean of their "
        "entropies. ARI: agreement on pairs of images, "
        "corrected for chance. Purity: share of images that belong to the commonest class of their "
        "cluster. The clustering has not seen "
        "the classes."
    )
    return (
        "<h2>Clusters, the pseudo-labels</h2>\n"
        + table(
            [
                "features of",
                *head.values(),
                *map(AGREEMENT.get, agreements),
                "size<br>min / med. / max",
            ],
            rows,
        )
        + '<p class="note">How: k-means on pooled features, every image assigned to the nearest '
        "centre."
        + (agreement if agreements else "")
        + f" {seeds_of(summary['clusters']).capitalize()}.</p>\n"
        + "".join(pictured)
    )


def pictures(run: Run, network: str, drawings: dict) -> str:
    """Returns the histogram of sizes and the nearest images of one clustering of the features of
    `network`, as far as there are any.
    """
    parts = []
    if run.name in drawings.get("sizes", {}):
        caption = (
            f"How many clusters have how many images. Features of {text(network)}, run "
            f"{text(run.name)}."
        )
        parts.append(figure(drawings["sizes"][run.name], caption, "Histogram of cluster sizes"))
    if run.picture("nearest_images"):
        caption = (
            "Each row: the images nearest one cluster centre (Figure 5 of the paper), from the "
            "tightest of all clusters at the top "
            f"to the loosest. Features of {text(network)}, run {text(run.name)}."
        )
        parts.append(
            figure(run.picture("nearest_images"), caption, "Images nearest to cluster centres")
        )
    return "".join(parts)


def number(statistics):
    """A count as it is, any other number with three digits; the mean of several seeds."""
    if statistics is None:
        return "-"
    mean = statistics["mean"]
    return (
        f"{mean:,.0f}"
        if mean.is_integer() and abs(mean) >= 1 or abs(mean) >= 1000
        else f"{mean:.3g}"
    )

"""Who taught whom: a student, its clusters and its teacher, and the images each of them saw."""

import dataclasses
import pathlib

from ccssl_tf.reporting.data_sets import data_set_name
from ccssl_tf.reporting.run import Run
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.runs.errors import CorruptArtifactError

# A run that reads one of these learns from another network.
_TAUGHT_BY = ("pseudo_labels", "teacher_backbone")
# The stages in their order, each called after what it does with its images.
ROLES = ("pretext", "clustering", "pseudo-labels", "training")


@dataclasses.dataclass(frozen=True)
class Transfer:
    """The runs between a teacher and its student; None where there is none, or it cannot be found.

    Attributes:
      student: the run that trained it; None for clusters that nobody learned.
      clusters: the run of the clustering; None for students that learn from the teacher itself.
      features: the run that extracted the features that were clustered.
      labelled: the run that extracted the features of the images that got pseudo-labels.
      teacher: the run that trained the teacher; None for a random one and for features of no
        network.
    """

    student: Run | None
    clusters: Run | None
    features: Run | None
    labelled: Run | None
    teacher: Run | None


def transfer_of(runs: RunSet, run: Run | None) -> Transfer | None:
    """Returns the transfer that ends with a student, a probe of one, or a clustering.

    None stands for other runs.
    """
    if run is not None and run.is_evaluation:
        run = runs.source(run, "init_backbone")
    if (
        run is None
        or run.module != "ccssl_tf.cluster"
        and not any(flag in run.inputs for flag in _TAUGHT_BY)
    ):
        return None
    if "teacher_backbone" in run.inputs:
        return Transfer(run, None, None, None, runs.source(run, "teacher_backbone"))
    clusters = run if run.module == "ccssl_tf.cluster" else runs.source(run, "pseudo_labels")
    features = labelled = None
    if clusters:
        features = runs.source(clusters, "features_dir")
        assigned = [
            runs.source(clusters, flag) for flag in clusters.inputs if flag.startswith("assign_dir")
        ]
        labelled = next(
            (source for source in assigned if source and source.flags.get("split") == "train"),
            None if assigned else features,
        )
    teacher = features and runs.source(features, "init_backbone")
    return Transfer(None if run is clusters else run, clusters, features, labelled, teacher)


def images_used(runs: RunSet, transfer: Transfer) -> dict[str, str]:
    """Returns role -> name of the data set, without unknown ones.

    An example is {"pretext": "imagenet", "clustering": "places205", ...}. A data set is called what
    its manifest says its source is; where two of them share that, the directory is added.
    """
    readers = zip(
        ROLES,
        (transfer.teacher, transfer.features, transfer.labelled, transfer.student),
        strict=True,
    )
    records = {
        role: run.inputs["data_dir"] for role, run in readers if run and "data_dir" in run.inputs
    }
    names = {role: data_set_name(runs, record) for role, record in records.items()}
    distinct_names = {}
    for role, record in records.items():
        alike = {records[other]["fingerprint"] for other in records if names[other] == names[role]}
        path = pathlib.Path(record["path"])
        distinct_names[role] = (
            names[role] if len(alike) == 1 else f"{names[role]} ({path.parent.name}/{path.name})"
        )
    return distinct_names


def describe_images(used: dict[str, str]) -> str:
    """Returns e.g. `pretext: imagenet, clustering: places205, pseudo-labels: imagenet`.

    Where all are the same images, it is their name alone.
    """
    if len(set(used.values())) == 1:
        return next(iter(used.values()))
    shown = {
        role: name
        for role, name in used.items()
        if role != "training" or name != used.get("pseudo-labels")
    }
    return ", ".join(f"{role}: {name}" for role, name in shown.items())


def qualifiers(runs: RunSet, run: Run) -> list[str]:
    """Returns texts that may tell the network of `run` from another one of its name.

    They are the number of clusters, the data sets, and the name of the run.
    """
    transfer = transfer_of(runs, run)
    if transfer is None:
        return ["", "", run.name]
    count = transfer.clusters.metrics.get("num_clusters") if transfer.clusters else None
    return [f"K={count}" if count else "", describe_images(images_used(runs, transfer)), run.name]


def describe_features(transfer: Transfer) -> str:
    """Returns e.g. `conv4, 4x4 max, 3,072-D`."""
    run = transfer.features
    if run is None:
        return "unknown"
    flags, dim = run.flags, run.metrics.get("dim")
    if flags.get("extractor", "endpoint") == "endpoint":
        grid = flags.get("pool_grid", "?")
        parts = [flags.get("endpoint", "?"), f"{grid}x{grid} {flags.get('pooling', '')}".strip()]
    else:
        parts = [flags["extractor"]]
    return ", ".join(parts + ([f"{dim:,}-D"] if dim else []))


def cluster_sizes(clusters: Run) -> dict[str, list[int]]:
    """Returns split -> images of each cluster; {} where they were not written."""
    try:
        tables = clusters.nearest_images()
        return {split: [row["size"] for row in rows] for split, rows in tables.items()}
    except (OSError, CorruptArtifactError):
        return {}

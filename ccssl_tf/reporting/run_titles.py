"""What a run is called on the page: what it made, not the directory it lies in."""

from ccssl_tf.reporting.run import Run
from ccssl_tf.reporting.runs import RunSet


def title_of(runs: RunSet, run: Run) -> str:
    """Returns e.g. `Linear probe of Jigsaw++`, with the seed where the runs have several."""
    seeds = {other.seed for other in runs.runs}
    return f"{_what(runs, run)}, seed {run.seed}" if len(seeds) > 1 else _what(runs, run)


def _what(runs: RunSet, run: Run) -> str:
    if run.is_evaluation:
        kind = str(run.task).replace("_", " ").capitalize()
        return f"{kind} of {runs.network(run)}"
    if run.task:
        return f"Training of {runs.network(run)}"
    package, _, command = run.module.rpartition(".")
    if command == "extract":
        split = run.flags.get("split")
        return f"Features of {runs.extracted(run)}{f', {split}' if split else ''}"
    if command == "cluster":
        return f"Clusters of features of {runs.clustered(run)}"
    source = runs.source(run, "run")
    if source:
        return f"{command.capitalize()} of {runs.network(source)}"
    if package == "data_prep":
        return f"Images, made by {run.module}"
    network = runs.source(run, "features_dir")
    kind = command.replace("_", " ").capitalize()
    return f"{kind} of {runs.extracted(network)}" if network else kind

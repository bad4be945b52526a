"""The report's section on first-layer filters (Figure 4 of the paper)."""

from ccssl_tf.reporting.elements import figure
from ccssl_tf.reporting.run import Run
from ccssl_tf.reporting.runs import RunSet


def filter_pictures(runs: RunSet) -> list[tuple[str, Run]]:
    """Returns (network, run) for each network whose filters were drawn.

    A network is shown by the run that trained it, the random one by a run that evaluated it.
    """
    drawn: dict[str, Run] = {}
    for run in runs.finished:
        if not run.task or not run.picture("conv1_filters"):
            continue
        network = runs.network(run)
        if network == "random" or not run.is_evaluation:
            drawn.setdefault(network, run)
    return sorted(drawn.items(), key=lambda item: (item[0] != "random", "CC+" in item[0], item[0]))


def section(drawn: list[tuple[str, Run]]) -> dict | None:
    """Returns the data of `filters.html.j2`, None where there are none.

    Args:
      drawn: `filter_pictures(runs)`.
    """
    figures = [
        figure(
            run.path / "pictures" / "conv1_filters.png",
            network,
            alternative=f"Filters of the first layer of {network}",
            kind="pixels",
        )
        for network, run in drawn
    ]
    return dict(title="First-layer filters", figures=figures) if figures else None

r"""(b, c) Clusters features by k-means and writes the pseudo-labels of one or more splits.

  python -m ccssl_tf.cluster --features_dir=DIR --num_clusters=2000 --workdir=DIR \
      [--assign_dir=DIR ...]

Writes centroids.npy (with --pca_dim, --whiten, --l2_normalize also preprocessing.npz), pseudo-label
records with their manifest, nearest.json and pictures/nearest_images.png (Figure 5). A killed run
continues at the pass it was in, to the same centroids.
"""

import dataclasses

from ccssl_tf.runs import machine

machine.quiet_tensorflow()

from ccssl_tf import distribution
from ccssl_tf.clustering.stage import ClusteringStage
from ccssl_tf.clustering.stage_settings import ClusteringSettings
from ccssl_tf.distribution import StrategySettings
from ccssl_tf.runs import signals
from ccssl_tf.runs.command import Command
from ccssl_tf.runs.launch import launch
from ccssl_tf.runs.settings import CommandSettings, WorkdirSettings
from ccssl_tf.runs.workdir import Workdir


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClusterSettings(CommandSettings, WorkdirSettings, StrategySettings):
    """This command."""


# What a killed run continues from.
_CHECKPOINTS = "checkpoint.npz*"
COMMAND = Command("ccssl_tf.cluster", __doc__, (ClusterSettings, ClusteringSettings))


def main(values):
    """Runs the stage."""
    settings = values[ClusterSettings]
    directory = settings.required_workdir()
    machine.print_devices()
    strategy = distribution.make_strategy(settings.strategy)
    stage = ClusteringStage(values[ClusteringSettings], strategy)
    chief = distribution.is_chief(strategy)
    values = values.resolved(stage.settings)
    workdir = Workdir(directory, inputs=stage.inputs(), settings=values, writes=chief)
    if settings.dry_run:
        workdir.check()
        print(stage.describe_cost(), flush=True)
        print(f"would write the pseudo-labels of {', '.join(stage.splits)} into {workdir.path}")
        return
    with workdir:
        if workdir.is_done:
            print(f"{workdir.path}: already complete", flush=True)
            return
        if chief:
            print(stage.describe_cost(), flush=True)
        with signals.stop_on_signal() as should_stop:
            metrics = stage.run(workdir.path, should_stop)
            if metrics is not None:
                workdir.finish(metrics=metrics, passing=(_CHECKPOINTS,))
                for path in workdir.path.glob(_CHECKPOINTS):
                    path.unlink()
            # A worker that left earlier would look like one that died.
            distribution.wait_for_workers(strategy)


if __name__ == "__main__":
    launch(COMMAND, main)

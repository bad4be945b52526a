"""All measurements by stage: what several seeds have in common, and how two networks differ."""

import dataclasses
import math
from collections.abc import Iterable

import numpy as np

from ccssl_tf.metrics import paired
from ccssl_tf.metrics.paired import Difference, Disagreement
from ccssl_tf.reporting.paper.measurement import Measurement

_ACCURACY = "evaluation.accuracy"


@dataclasses.dataclass(frozen=True)
class Statistic:
    """One number over the seeds.

    Attributes:
      values: seed -> share in [0, 1].
      count: number of images, None where it is unknown.
      standard_error: of the mean, over images; None where it is unknown.
      error_by: "bootstrap" of the answers, "binomial" of their number, or None.
    """

    values: dict[int, float]
    count: int | None = None
    standard_error: float | None = None
    error_by: str | None = None

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return math.fsum(self.values.values()) / len(self.values)

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds, None for one seed."""
        return spread_of(self)


@dataclasses.dataclass(frozen=True)
class Contrast:
    """How one network differs from another in one number, over the seeds that both have.

    Attributes:
      label: of what was measured, e.g. "conv3".
      first, second: means of the two, shares in [0, 1].
      spread: pooled standard deviation over the seeds, None where no spread is known.
      seeds: number of seeds that both have.
      bootstrap: of the difference over images and seeds, None where answers were not kept.
      disagreement: of one seed, where there is no other; None where there are, or no answers.
      same_settings: whether both evaluations ran with the same settings on the same images.
    """

    label: str
    first: float
    second: float
    spread: float | None
    seeds: int
    bootstrap: Difference | None
    disagreement: Disagreement | None
    same_settings: bool

    @property
    def difference(self) -> float:
        """Of the first from the second."""
        return self.first - self.second


def spread_of(*statistics: Statistic) -> float | None:
    """Returns the pooled standard deviation over seeds, None where each has one seed only."""
    groups = [list(statistic.values.values()) for statistic in statistics]
    if not any(len(group) > 1 for group in groups):
        return None
    return paired.pooled_standard_deviation(*groups)


class Results:
    """Measurements by stage and seed.

    Attributes:
      stages: stage -> seed -> measurement.
    """

    def __init__(self, measurements: Iterable[Measurement]):
        """Takes measurements of which no two are of the same stage and seed."""
        self.stages: dict[str, dict[int, Measurement]] = {}
        for one in sorted(measurements, key=lambda one: (one.stage, one.seed)):
            self.stages.setdefault(one.stage, {})[one.seed] = one

    def networks(self, evaluation: str) -> list[str]:
        """Returns the networks that have a run of an evaluation, e.g. of `imagenet_probe`."""
        places = (stage.split("/", 1) for stage in self.stages)
        return [network for name, network in places if name == evaluation]

    def metrics(self, stage: str, prefix: str) -> list[str]:
        """Returns the metrics of a stage that begin with `prefix`, in order of their names."""
        runs = self.stages.get(stage, {}).values()
        return sorted({name for one in runs for name in one.metrics if name.startswith(prefix)})

    def statistic(self, stage: str, metric: str) -> Statistic | None:
        """Returns a number of a stage over its seeds, None where no run has it.

        Args:
          stage: e.g. "imagenet_probe/cc_jigsaw_pp".
          metric: keys joined with dots, e.g. "evaluation.accuracy/conv3"; that of a stage with
            several convolutions is its last one, e.g. conv3_3.
        """
        return self._statistic(stage, metric, None)

    def _statistic(self, stage, metric, seeds):
        runs = self.stages.get(stage, {})
        named = {seed: name for seed, one in runs.items() if (name := _name_in(one, metric))}
        named = {seed: name for seed, name in named.items() if seeds is None or seed in seeds}
        if not named:
            return None
        values = {seed: runs[seed].metrics[name] for seed, name in named.items()}
        plain = Statistic(values)
        counts = {runs[seed].count for seed in named}
        count = counts.pop() if len(counts) == 1 else None
        if count is None or not metric.startswith(_ACCURACY):
            return plain
        correct = self._answers(stage, metric, list(named))
        if correct is not None:
            error, by = paired.standard_error_over_images(correct), "bootstrap"
        elif 0 <= plain.mean <= 1:
            error, by = paired.binomial_standard_error(plain.mean, count), "binomial"
        else:
            return plain
        return Statistic(values, count, error, by)

    def contrast(
        self, metric: str, first: str, second: str, label: str | None = None
    ) -> Contrast | None:
        """Returns how the first stage differs from the second; None where they share no seed.

        Args:
          metric: of both, see `statistic`.
          first, second: stages.
          label: of the metric; by default its layer.
        """
        sides = self.statistic(first, metric), self.statistic(second, metric)
        if sides[0] is None or sides[1] is None:
            return None
        seeds = [seed for seed in sides[0].values if seed in sides[1].values]
        if not seeds:
            return None
        ours, theirs = (self._statistic(stage, metric, seeds) for stage in (first, second))
        pairs = [(self.stages[first][seed], self.stages[second][seed]) for seed in seeds]
        right, others = (self._answers(stage, metric, seeds) for stage in (first, second))
        bootstrap, disagreement = None, None
        same_images = all(one.data == other.data for one, other in pairs)
        if right is not None and others is not None and right.shape == others.shape and same_images:
            bootstrap = paired.paired_bootstrap(right, others)
            disagreement = paired.mcnemar(right[0], others[0]) if len(seeds) == 1 else None
        return Contrast(
            label=label or metric.rpartition("/")[2],
            first=ours.mean,
            second=theirs.mean,
            spread=spread_of(ours, theirs),
            seeds=len(seeds),
            bootstrap=bootstrap,
            disagreement=disagreement,
            same_settings=same_images and all(one.flags == other.flags for one, other in pairs),
        )

    def _answers(self, stage, metric, seeds) -> np.ndarray | None:
        """Returns [seeds, N] bool, None where one of the runs did not keep its answers, or where
        they are to different images.
        """
        if len({self.stages[stage][seed].data for seed in seeds}) > 1:
            return None
        rows = []
        for seed in seeds:
            one = self.stages[stage][seed]
            kept = one.outcomes
            layers = list(kept.packed) if kept else []
            _, has_layer, layer = (_name_in(one, metric) or "").rpartition("/")
            # Nearest neighbours have one accuracy, of the features.
            layer = layer if has_layer or len(layers) != 1 else layers[0]
            if kept is None or layer not in layers:
                return None
            rows.append(kept.correct(layer))
        return np.stack(rows) if len({len(row) for row in rows}) == 1 else None

    def mixed_stages(self) -> list[str]:
        """Returns the stages whose seeds ran with different settings or commits."""
        return [
            stage
            for stage, runs in self.stages.items()
            if len({(one.flags, one.commit) for one in runs.values()}) > 1
        ]


def _name_in(one: Measurement, metric: str) -> str | None:
    """Returns the metric as this run names it: conv3_3 stands for conv3."""
    if metric in one.metrics:
        return metric
    deeper = [name for name in one.metrics if name.startswith(f"{metric}_")]
    return max(deeper, key=lambda name: (len(name), name), default=None)

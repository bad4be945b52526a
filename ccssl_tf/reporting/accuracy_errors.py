"""How far accuracies can be trusted: their standard errors, and those of differences.

Held-out images are a sample, and so are the seeds; the variances of both means add up.
"""

import math
from typing import NamedTuple

import numpy as np

from ccssl_tf.data.outcomes import read_outcomes
from ccssl_tf.metrics import paired
from ccssl_tf.reporting.data_sets import held_out_count
from ccssl_tf.reporting.run import Run
from ccssl_tf.reporting.runs import RunSet

# A difference of more standard errors than this is said to be more than noise.
BEYOND = 2


class Gap(NamedTuple):
    """A difference of two accuracies.

    Attributes:
      mean: accuracy of the first less that of the second, in [-1, 1].
      standard_error: of it.
    """

    mean: float
    standard_error: float

    @property
    def is_beyond_noise(self) -> bool:
        """Whether it is more than two standard errors."""
        return abs(self.mean) > BEYOND * self.standard_error


def standard_error(runs: RunSet, group: list[Run], name: str) -> float | None:
    """Returns the standard error of the mean of an accuracy over seeds, None where nobody knows.

    Args:
      runs: the runs reported on.
      group: the seeds of one experiment.
      name: of an accuracy, e.g. "accuracy/conv4"; each of the runs has it.
    """
    accuracies = [float(run.metrics["evaluation"][name]) for run in group]
    answers, mean = _answers(group, name), math.fsum(accuracies) / len(accuracies)
    if answers is not None:
        over_images = paired.standard_error_over_images(answers)
    else:
        count = held_out_count(runs, group[0])
        if count is None or not 0 <= mean <= 1:
            return None
        over_images = paired.binomial_standard_error(mean, count)
    return math.hypot(over_images, _over_seeds(accuracies))


def gap(runs: RunSet, first: dict, second: dict, name: str) -> Gap | None:
    """Returns how an accuracy of one network differs from another's, None without their errors.

    Where both answered the same images in the same seeds, image is compared with image, which
    tells smaller differences.

    Args:
      runs: the runs reported on.
      first, second: entries of one table of `summary["probes"]`.
      name: of the accuracy.
    """
    statistics = [entry["evaluation"].get(name) for entry in (first, second)]
    if None in statistics:
        return None
    ours, theirs = statistics
    groups = [[runs.named(run) for run in entry["runs"]] for entry in (first, second)]
    right, others = (_answers(group, name) for group in groups)
    images = {
        run.inputs.get("data_dir", {}).get("fingerprint") for group in groups for run in group
    }
    is_paired = (
        right is not None
        and others is not None
        and right.shape == others.shape
        and first["seeds"] == second["seeds"]
        and len(images) == 1
    )
    if is_paired:
        differences = right.astype(float) - others
        over_images = paired.standard_error_over_images(differences)
        return Gap(
            float(differences.mean()),
            math.hypot(over_images, _over_seeds(differences.mean(1))),
        )
    errors = [one.get("standard_error") for one in (ours, theirs)]
    return None if None in errors else Gap(ours["mean"] - theirs["mean"], math.hypot(*errors))


def _over_seeds(values) -> float:
    """The standard error of a mean over seeds; one seed does not tell it, and gives 0."""
    count = len(values)
    return float(np.std(values, ddof=1)) / math.sqrt(count) if count > 1 else 0.0


def _answers(group: list[Run], name: str) -> np.ndarray | None:
    """Returns [seeds, N] bool, right answers; None where a run did not keep them."""
    kept = [read_outcomes(run.path) for run in group]
    layer = name.partition("/")[2]
    rows = [one.correct(layer) for one in kept if one is not None and layer in one.packed]
    if len(rows) < len(group) or len({len(row) for row in rows}) > 1:
        return None
    return np.stack(rows)

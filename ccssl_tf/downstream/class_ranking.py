"""How well scores rank photos: mean average precision over the classes, by three definitions."""

import numpy as np

from ccssl_tf.metrics import average_precision

# How the area under precision and recall is computed -> what the number's name ends with.
_DEFINITIONS = {"trapezoid": "", "step": "_step", "11point": "_11point"}
# By which the score of a positive is lowered, so that equal scores do not favour the method.
_AGAINST_TIES = 1e-5


def shown_classes(presence) -> list[int]:
    """Returns the classes that at least one photo shows, of presence [N, C]."""
    return np.flatnonzero((presence > 0).any(0)).tolist()


def precisions_of_classes(scores, presence, interpolation: str = "trapezoid") -> dict[int, float]:
    """Returns the average precision of every class that is shown, by its number.

    Args:
      scores: [N, C] float64.
      presence: [N, C], 1 there, -1 not, 0 ignored.
      interpolation: "trapezoid", "step" or "11point", see `average_precision`.
    """
    positive, ignored = presence > 0, presence == 0
    return {
        number: average_precision(
            scores[:, number] - _AGAINST_TIES * positive[:, number],
            positive[:, number],
            ignored[:, number],
            interpolation,
        )
        for number in shown_classes(presence)
    }


def mean_average_precisions(scores, presence, suffix: str = "") -> dict[str, float]:
    """Returns the mean over the classes that are shown by every definition; the trapezoid area is
    called `mean_average_precision`. The names end with `suffix`.
    """
    means = {}
    for interpolation, definition in _DEFINITIONS.items():
        precisions = list(precisions_of_classes(scores, presence, interpolation).values())
        means[f"mean_average_precision{definition}{suffix}"] = float(np.mean(precisions))
    return means


def chance(presence) -> float:
    """Returns the mean over the classes that are shown of the share of photos that show them, which
    is what a random ranking scores.
    """
    shown = presence[:, shown_classes(presence)]
    shares = (shown > 0).sum(0) / np.maximum((shown != 0).sum(0), 1)
    return float(shares.mean())

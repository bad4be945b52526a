"""What the probes say of every student, in a sentence, with how far noise goes."""

from ccssl_tf.reporting.accuracy_errors import Gap, gap
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.reporting.student_table import layers_of, probes_of
from ccssl_tf.reporting.text import percent, percent_with_error

_TASK = "linear_probe"


def verdicts(runs: RunSet, summary: dict) -> list[str]:
    """Returns a sentence for each student whose linear probe can be compared.

    The layer is conv4, whose features the paper clusters, and not the best one: the best of several
    layers would look better than it is.

    Args:
      runs: the runs reported on.
      summary: `summary.summarise(runs)`, but for these.
    """
    sentences: list[str] = []
    for transfer in summary["transfers"]:
        sentence = _sentence(runs, summary, transfer, is_first=not sentences)
        sentences += [sentence] if sentence else []
    return sentences


def _sentence(runs: RunSet, summary: dict, transfer: dict, *, is_first: bool) -> str | None:
    """The first sentence explains its words."""
    student = _probe(summary, transfer, "student")
    layers = layers_of(summary, _TASK, [student]) if student else []
    if not layers:
        return None
    layer = next((layer for layer in reversed(layers) if layer.startswith("conv4")), layers[-1])
    name = f"accuracy/{layer}"
    others = [("random weights", _probe(summary, transfer, "random"))]
    others.append((f"its teacher {transfer['teacher']}", _probe(summary, transfer, "teacher")))
    comparisons = [
        _comparison(runs, student, other, name, label)
        for label, other in others
        if other is not None and name in other["evaluation"] and other is not student
    ]
    accuracy = percent_with_error(student["evaluation"][name])
    told = meaning = classifier = ""
    if is_first:
        told = " (a standard error)" if "standard_error" in student["evaluation"][name] else ""
        meaning = " (CC: cluster classification)" if "CC+" in transfer["student"] else ""
        classifier = f", a classifier on its layer {layer},"
    return "; ".join(
        [
            f"The {layer} probe of the student {transfer['student']}{meaning}{classifier} is "
            f"{accuracy}{told}",
            *comparisons,
        ]
    )


def _probe(summary: dict, transfer: dict, role: str) -> dict | None:
    return next(
        (entry for task, entry in probes_of(summary, transfer, role) if task == _TASK), None
    )


def _comparison(runs: RunSet, student: dict, other: dict, name: str, label: str) -> str:
    difference = gap(runs, student, other, name)
    mean = student["evaluation"][name]["mean"] - other["evaluation"][name]["mean"]
    side = "above" if mean >= 0 else "below"
    if difference is None:
        return f"{percent(abs(mean))} points {side} {label}, and how far noise goes is not known"
    return f"{_points(difference)} points {side} {label}, which is {_strength(difference)}"


def _points(difference: Gap) -> str:
    return f"{percent(abs(difference.mean))} ± {percent(difference.standard_error)}"


def _strength(difference: Gap) -> str:
    if difference.is_beyond_noise:
        return "beyond two standard errors"
    return "within two standard errors: noise could make it"

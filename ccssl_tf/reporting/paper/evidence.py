"""What a claim rests on: comparisons of two networks by VOC classification and linear probes."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence

from ccssl_tf.reporting.paper.results import Contrast, Results
from ccssl_tf.reporting.paper.tables import network_name
from ccssl_tf.reporting.text import percent

VOC, PROBE = "voc07_classification", "imagenet_probe"
LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5")

# Maps a difference and the spread, None where no spread is known, to whether a claim holds of them,
# None where that cannot be told.
Criterion = Callable[[float, float | None], bool | None]


@dataclasses.dataclass(frozen=True)
class Part:
    """One comparison that a claim rests on, or something told beside it.

    Attributes:
      text: the numbers, or what is missing.
      passed: None where it was not measured; True of what is only told.
    """

    text: str
    passed: bool | None


def above_by_the_spread(difference: float, spread: float | None) -> bool | None:
    """The first is better by more than the spread."""
    return None if spread is None else difference > spread


def not_below_by_more_than_the_spread(difference: float, spread: float | None) -> bool | None:
    """The first is better, equal, or worse by at most the spread."""
    if difference >= 0:
        return True
    return None if spread is None else -difference <= spread


def within_the_spread(difference: float, spread: float | None) -> bool | None:
    """The two differ by at most the spread."""
    return None if spread is None else abs(difference) <= spread


def below(difference: float, spread: float | None) -> bool | None:
    """The first is worse, by however little."""
    return difference < 0


def by_layer(
    results: Results, first: str, second: str, layers: Sequence[str], criterion: Criterion
) -> Iterator[Part]:
    """Yields the comparison of two networks by the linear probe of each of some layers."""
    for layer in layers:
        yield comparison(results, PROBE, layer, first, second, criterion)


def comparison(
    results: Results,
    evaluation: str,
    layer: str | None,
    first: str,
    second: str,
    criterion: Criterion,
) -> Part:
    """Returns how two networks compare, with all numbers that are known of it.

    Args:
      results: what was measured.
      evaluation: VOC or PROBE.
      layer: of the probe; None of it where there is none to look at.
      first, second: the networks.
      criterion: whether the claim holds of them.
    """
    label = label_of(evaluation, layer)
    found = contrast_of(results, evaluation, layer, first, second)
    if found is None:
        return missing(label, [first, second])
    text = (
        f"{label}: {network_name(first)} {percent(found.first)}, {network_name(second)} "
        f"{percent(found.second)}, difference {signed(found.difference)}, "
        f"{spread_text(found.spread)} of {found.seeds} seed{'s' * (found.seeds > 1)}"
    )
    if not found.same_settings:
        text += ", evaluated with different settings or images"
    return Part(text + _answers_text(found), criterion(found.difference, found.spread))


def where_measured(
    results: Results, parts: Callable[[str, str | None], Sequence[Part]], best_of: str
) -> list[Part]:
    """Returns the parts of VOC classification and of the linear probe, whichever was measured.

    Args:
      results: what was measured.
      parts: maps evaluation and layer to parts.
      best_of: the network at whose best layer the probe is looked at.
    """
    both = [*parts(VOC, None), *parts(PROBE, best_layer(results, best_of))]
    measured = [part for part in both if part.passed is not None]
    return measured or both


def missing(label: str, networks: Iterable[str]) -> Part:
    """Returns what says that a comparison was not measured, for want of which runs."""
    return Part(f"{label}: needs runs of the same seed of {' and '.join(networks)}", None)


def contrast_of(
    results: Results, evaluation: str, layer: str | None, first: str, second: str
) -> Contrast | None:
    """Returns how two networks differ, None where one was not measured."""
    if layer is None and evaluation == PROBE:
        return None
    metric = metric_of(evaluation, layer)
    return results.contrast(metric, f"{evaluation}/{first}", f"{evaluation}/{second}")


def best_layer(results: Results, network: str) -> str | None:
    """Returns the layer whose linear probe is best, None where none was run."""
    means = {
        layer: found.mean
        for layer in LAYERS
        if (found := results.statistic(f"{PROBE}/{network}", metric_of(PROBE, layer)))
    }
    return max(means, key=lambda layer: means[layer], default=None)


def metric_of(evaluation: str, layer: str | None) -> str:
    """Returns the metric of an evaluation: VOC's mean average precision, a layer's accuracy."""
    is_voc = evaluation == VOC
    return "evaluation.mean_average_precision" if is_voc else f"evaluation.accuracy/{layer}"


def label_of(evaluation: str, layer: str | None) -> str:
    """Returns what to call a number in a text."""
    return "VOC classification" if evaluation == VOC else layer or "best layer"


def signed(share: float) -> str:
    """Returns e.g. `+1.2` for a difference of 0.012."""
    return f"{100 * share:+.1f}"


def spread_text(spread: float | None) -> str:
    """Returns e.g. `spread 0.40` for 0.004."""
    return "no spread" if spread is None else f"spread {100 * spread:.2f}"


def _answers_text(contrast: Contrast) -> str:
    """What the answers to each image say of a difference, "" where they were not kept."""
    text, found, disagreement = "", contrast.bootstrap, contrast.disagreement
    if found:
        text += f", 95% {signed(found.low)} to {signed(found.high)}, p {found.p:.2g}"
    if disagreement:
        text += (
            f", only one right on {disagreement.only_first} and {disagreement.only_second} "
            f"images, McNemar p {disagreement.p:.2g}"
        )
    return text

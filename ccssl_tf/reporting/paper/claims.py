"""The claims of the paper, each tested on our measurements as it was written before them.

A difference is that of the means over the seeds that both networks have, evaluated with the same
settings; the spread is the pooled standard deviation over these seeds. A claim is held or not held;
where something it needs was not run, or only with one seed so that no spread is known, it is not
measured, unless a part that was measured refutes it.
"""

import dataclasses
from collections.abc import Callable, Sequence

from ccssl_tf.reporting.paper import evidence
from ccssl_tf.reporting.paper.evidence import LAYERS, PROBE, VOC, Part
from ccssl_tf.reporting.paper.results import Results, spread_of
from ccssl_tf.reporting.paper.tables import network_name
from ccssl_tf.reporting.text import percent

HELD, NOT_HELD, NOT_MEASURED = "held", "not held", "not measured"
# Saturation up to which filters have nearly no colour; that of random weights is two thirds.
NEAR_ZERO = 0.05
# The networks whose first filters Figure 4 shows.
FIGURE_4 = (
    *("cc_context_color_drop", "cc_random", "cc_hog", "cc_context_color_projection"),
    *("cc_jigsaw_pp", "cc_vgg_jigsaw_pp"),
)
_BASELINE = "; random is, where it was run, the network with measured batch normalisation"
_DOMAINS = ("cc_jigsaw_pp", "cc_jigsaw_pp_imagenet_places", "cc_jigsaw_pp_places_imagenet")


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What our measurements say of a claim.

    Attributes:
      number: 1 to 9.
      name: of the claim, a few words.
      test: what must be so for it to be held.
      outcome: HELD, NOT_HELD or NOT_MEASURED.
      parts: the comparisons that decided.
    """

    number: int
    name: str
    test: str
    outcome: str
    parts: tuple[Part, ...]

    @property
    def numbers(self) -> str:
        """What decided, in words."""
        return "; ".join(part.text for part in self.parts)

    @property
    def sentence(self) -> str:
        """All of it in one sentence."""
        return f"{self.name} is {self.outcome} ({self.numbers}); it is held where {self.test}."


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim of the paper and its test.

    Attributes:
      name: a few words.
      test: what must be so for it to be held, to follow "it is held where".
      parts: the comparisons, made of the results.
    """

    name: str
    test: str
    parts: Callable[[Results], Sequence[Part]]


def judge(results: Results) -> list[Verdict]:
    """Returns what the measurements say of each of the nine claims, in their order.

    Args:
      results: what was measured.
    """
    return [_verdict(number, claim, results) for number, claim in enumerate(CLAIMS, 1)]


def _verdict(number: int, claim: Claim, results: Results) -> Verdict:
    parts = tuple(claim.parts(results))
    passed = [part.passed for part in parts]
    if False in passed:
        outcome = NOT_HELD
    elif not parts or None in passed:
        outcome = NOT_MEASURED
    else:
        outcome = HELD
    return Verdict(number, claim.name, claim.test, outcome, parts)


def _deeper_teacher(results):
    yield from evidence.by_layer(
        results, "cc_vgg_jigsaw_pp", "cc_jigsaw_pp", LAYERS[2:], evidence.above_by_the_spread
    )


def _same_architecture(results):
    layer = evidence.best_layer(results, "jigsaw_pp")
    yield evidence.comparison(
        results,
        PROBE,
        layer,
        "cc_jigsaw_pp",
        "jigsaw_pp",
        evidence.not_below_by_more_than_the_spread,
    )


def _pretext_learning(results):
    baseline = _random_network(results)
    yield from evidence.by_layer(
        results, "jigsaw_pp", baseline, LAYERS[2:4], evidence.above_by_the_spread
    )
    yield from _told_beside(results, "jigsaw_pp", baseline, LAYERS[2:4])


def _random_labels(results):
    baseline = _random_network(results)
    for network in ("cc_random", "cc_shuffled"):
        yield from evidence.by_layer(results, network, baseline, LAYERS, evidence.within_the_spread)
        yield from _told_beside(results, network, baseline, LAYERS)
        predicted = results.statistic(f"train/{network}", "evaluation.accuracy")
        if predicted:
            chance = results.statistic(f"train/{network}", "facts.chance.val")
            chance = chance or results.statistic(f"train/{network}", "facts.chance")
            guessed = f", by guessing {percent(chance.mean)}" if chance else ""
            yield Part(
                f"{network_name(network)} predicts {percent(predicted.mean)} of held-out "
                f"pseudo-labels{guessed}",
                True,
            )


def _random_network(results: Results) -> str:
    """Returns the random network that others are compared with.

    Training gives batch normalisation the statistics of images, which a network as initialised has
    not; where one was run whose statistics were measured and nothing else learned, it is the one.
    """
    is_measured = "random_calibrated" in results.networks(PROBE)
    return "random_calibrated" if is_measured else "random"


def _told_beside(results, network, baseline, layers):
    """Tells the differences from the random network as initialised, where another one decides."""
    if baseline == "random":
        return
    found = [
        one
        for layer in layers
        if (one := evidence.contrast_of(results, PROBE, layer, network, "random"))
    ]
    if found:
        told = ", ".join(f"{one.label} {evidence.signed(one.difference)}" for one in found)
        yield Part(f"{network_name(network)} less the random network as initialised: {told}", True)


def _number_of_clusters(results):
    def parts(evaluation, layer):
        networks = [
            network
            for network in results.networks(evaluation)
            if network.removeprefix("cc_jigsaw_pp_k").isdigit()
        ]
        networks.sort(key=lambda network: int(network.rpartition("_k")[2]))
        swept = [
            (network, found)
            for network in networks
            if (
                found := results.statistic(
                    f"{evaluation}/{network}", evidence.metric_of(evaluation, layer)
                )
            )
        ]
        gap = evidence.contrast_of(results, evaluation, layer, "jigsaw_pp", "random")
        label = evidence.label_of(evaluation, layer)
        if len(swept) < 2 or gap is None:
            return [
                evidence.missing(
                    label, [f"cc_jigsaw_pp_k* ({len(swept)} of 2)", "jigsaw_pp", "random"]
                )
            ]
        means = [found.mean for _, found in swept]
        told = ", ".join(
            f"k={network.rpartition('_k')[2]} {percent(found.mean)}" for network, found in swept
        )
        size = max(means) - min(means)
        return [
            Part(
                f"{label}: {told}, a range of {percent(size)}, where Jigsaw++ is "
                f"{percent(gap.difference)} above random",
                size < gap.difference,
            )
        ]

    return evidence.where_measured(results, parts, "jigsaw_pp")


def _other_domain(results):
    def parts(evaluation, layer):
        metric, label = evidence.metric_of(evaluation, layer), evidence.label_of(evaluation, layer)
        cells = [results.statistic(f"{evaluation}/{network}", metric) for network in _DOMAINS]
        if None in cells:
            return [
                evidence.missing(
                    label,
                    [n for n, cell in zip(_DOMAINS, cells, strict=True) if cell is None],
                )
            ]
        means, spread = [cell.mean for cell in cells], spread_of(*cells)
        told = ", ".join(
            f"{domains} {percent(mean)}"
            for domains, mean in zip(
                ("ImageNet and ImageNet", "ImageNet and Places", "Places and ImageNet"),
                means,
                strict=True,
            )
        )
        size = max(means) - min(means)
        return [
            Part(
                f"{label}: clusters and pseudo-labels of {told}, a range of {percent(size)}, "
                f"{evidence.spread_text(spread)}",
                None if spread is None else size <= 2 * spread,
            )
        ]

    return evidence.where_measured(results, parts, "jigsaw_pp")


def _hog(results):
    yield evidence.comparison(
        results, VOC, None, "cc_hog", "cc_jigsaw_pp", evidence.not_below_by_more_than_the_spread
    )
    yield from evidence.by_layer(results, "cc_hog", "cc_jigsaw_pp", LAYERS, evidence.below)


def _colour(results):
    saturation = {}
    for network in FIGURE_4:
        values = [
            one.saturation
            for one in results.stages.get(f"train/{network}", {}).values()
            if one.saturation is not None
        ]
        if values:
            saturation[network] = sum(values) / len(values)
    dropped, *others = FIGURE_4
    if dropped not in saturation:
        yield Part(f"colour saturation: needs the network in train/{dropped}", None)
    else:
        grey = saturation[dropped]
        yield Part(f"saturation of {network_name(dropped)} {grey:.3f}", grey <= NEAR_ZERO)
    measured = [network for network in others if network in saturation]
    if not measured:
        yield Part(f"colour saturation: needs one in train/ of {', '.join(others)}", None)
    for network in measured:
        yield Part(
            f"of {network_name(network)} {saturation[network]:.3f}", saturation[network] > NEAR_ZERO
        )


def _distillation(results):
    teacher = next(
        (
            one.inputs["teacher_backbone"].partition("/")[2]
            for one in results.stages.get("train/regression", {}).values()
            if one.inputs.get("teacher_backbone", "").startswith("train/")
        ),
        "jigsaw_pp",
    )
    pairs = {"regression": f"cc_{teacher}", "at_vgg_jigsaw_pp": "cc_vgg_jigsaw_pp"}
    for student, clustered in pairs.items():

        def parts(evaluation, layer, student=student, clustered=clustered):
            return [
                evidence.comparison(results, evaluation, layer, student, clustered, evidence.below)
            ]

        yield from evidence.where_measured(results, parts, clustered)


CLAIMS = (
    Claim(
        "A deeper teacher helps",
        "on each of conv3, conv4 and conv5 the linear probe of CC+vgg-Jigsaw++ is above that of "
        "CC+Jigsaw++ by more than the spread",
        lambda results: list(_deeper_teacher(results)),
    ),
    Claim(
        "Transfer to the same architecture loses nothing",
        "on the layer that Jigsaw++ is best at, the linear probe of CC+Jigsaw++ is not below that "
        "of Jigsaw++ by more than the spread",
        lambda results: list(_same_architecture(results)),
    ),
    Claim(
        "Pretext learning helps",
        "on each of conv3 and conv4 the linear probe of Jigsaw++ is above that of a random network "
        f"by more than the spread{_BASELINE}",
        lambda results: list(_pretext_learning(results)),
    ),
    Claim(
        "Random pseudo-labels teach nothing that transfers",
        "on each of conv1 to conv5 the linear probes of the students of a random network's "
        "clusters and of shuffled pseudo-labels are within the spread of random initialisation's"
        f"{_BASELINE}",
        lambda results: list(_random_labels(results)),
    ),
    Claim(
        "The number of clusters matters little",
        "over the numbers of clusters the range is smaller than the gap between Jigsaw++ and a "
        "random network, in VOC classification and on the linear probe of the layer that Jigsaw++ "
        "is best at, whichever of the two were run",
        lambda results: list(_number_of_clusters(results)),
    ),
    Claim(
        "Another clustering domain costs little",
        "the range over Table 2's three cells is at most twice the spread, in VOC classification "
        "and on the linear probe of the layer that Jigsaw++ is best at, whichever were run",
        lambda results: list(_other_domain(results)),
    ),
    Claim(
        "HOG pseudo-labels are strong on VOC and weaker on linear probes",
        "CC+HOG is not below CC+Jigsaw++ by more than the spread in VOC classification, and is "
        "below it on the linear probe of each of conv1 to conv5",
        lambda results: list(_hog(results)),
    ),
    Claim(
        "Filters have no colour where the teacher saw none",
        f"the colour saturation of conv1 is at most {NEAR_ZERO} for CC+Context-ColorDrop and "
        "above that for the other networks of Figure 4 that were trained (0: grey, 0.667: random "
        "weights)",
        lambda results: list(_colour(results)),
    ),
    Claim(
        "Distillation is below cluster classification with the same teacher",
        "feature regression and attention transfer are below the cluster classification of their "
        "teacher's features, in VOC classification and on the linear probe of the layer that "
        "cluster classification is best at, whichever of the two were run",
        lambda results: list(_distillation(results)),
    ),
)

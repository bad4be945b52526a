"""Comparisons of two networks: their bounds, their words, and which evaluation they rest on."""

import pytest
from paper_measurements import measured, probed

from ccssl_tf.reporting.paper import evidence
from ccssl_tf.reporting.paper.evidence import PROBE, VOC, Part
from ccssl_tf.reporting.paper.results import Results

VALUES = [0.2, 0.3, 0.31, 0.33, 0.28]


@pytest.mark.parametrize(
    ("criterion", "difference", "expected"),
    [
        (evidence.above_by_the_spread, 0.02, True),
        (evidence.above_by_the_spread, 0.01, False),
        (evidence.above_by_the_spread, -0.02, False),
        (evidence.not_below_by_more_than_the_spread, 0.02, True),
        (evidence.not_below_by_more_than_the_spread, -0.01, True),
        (evidence.not_below_by_more_than_the_spread, -0.02, False),
        (evidence.within_the_spread, 0.01, True),
        (evidence.within_the_spread, -0.01, True),
        (evidence.within_the_spread, -0.02, False),
        (evidence.within_the_spread, 0.02, False),
        (evidence.below, -0.001, True),
        (evidence.below, 0.0, False),
    ],
)
def test_bounds(criterion, difference, expected):
    assert criterion(difference, 0.01) is expected


def test_without_a_spread_only_what_does_not_need_it_can_be_told():
    assert evidence.above_by_the_spread(0.5, None) is None
    assert evidence.within_the_spread(0.0, None) is None
    assert evidence.not_below_by_more_than_the_spread(-0.5, None) is None
    assert evidence.not_below_by_more_than_the_spread(0.0, None) is True
    assert evidence.below(-0.5, None) is True


def test_the_best_layer_is_that_of_the_mean_over_seeds():
    results = Results(
        [
            probed(f"{PROBE}/jigsaw_pp", [0.1, 0.2, 0.5, 0.4, 0.1], seed=0),
            probed(f"{PROBE}/jigsaw_pp", [0.1, 0.2, 0.3, 0.45, 0.1], seed=1),
        ]
    )
    assert evidence.best_layer(results, "jigsaw_pp") == "conv4"
    assert evidence.best_layer(results, "random") is None


def test_a_comparison_tells_its_numbers_or_what_is_missing():
    results = Results(
        [probed(f"{PROBE}/jigsaw_pp", VALUES), probed(f"{PROBE}/random", VALUES, flags="others")]
    )
    found = evidence.comparison(results, PROBE, "conv2", "jigsaw_pp", "random", evidence.below)
    assert found == Part(
        "conv2: Jigsaw++ 30.0, Random 30.0, difference +0.0, no spread of 1 seed, evaluated with "
        "different settings or images",
        False,
    )
    found = evidence.comparison(results, VOC, None, "jigsaw_pp", "random", evidence.below)
    assert found.passed is None
    assert found.text == "VOC classification: needs runs of the same seed of jigsaw_pp and random"
    found = evidence.comparison(results, PROBE, None, "jigsaw_pp", "random", evidence.below)
    assert found.passed is None and found.text.startswith("best layer: needs")


def test_the_evaluations_that_were_run_decide():
    voc = [measured(f"{VOC}/{name}", 0.4) for name in ("jigsaw_pp", "random")]
    probes = [probed(f"{PROBE}/{name}", VALUES) for name in ("jigsaw_pp", "random")]

    def labels(measurements):
        results = Results(measurements)

        def parts(evaluation, layer):
            pair = "jigsaw_pp", "random"
            return [evidence.comparison(results, evaluation, layer, *pair, evidence.below)]

        found = evidence.where_measured(results, parts, "jigsaw_pp")
        return [part.text.partition(":")[0] for part in found]

    assert labels(voc) == ["VOC classification"] and labels(probes) == ["conv4"]
    assert labels([*voc, *probes]) == ["VOC classification", "conv4"]
    assert labels([]) == ["VOC classification", "best layer"]

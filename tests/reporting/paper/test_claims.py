"""Each claim is held, not held or not measured, by the numbers that it was said to rest on."""

import pytest
from paper_measurements import measured, probed

from ccssl_tf.reporting.paper.claims import HELD, NOT_HELD, NOT_MEASURED, judge
from ccssl_tf.reporting.paper.results import Results

BASE = dict(
    random=[0.20, 0.26, 0.25, 0.25, 0.22],
    jigsaw_pp=[0.22, 0.32, 0.33, 0.30, 0.25],
    cc_jigsaw_pp=[0.23, 0.32, 0.34, 0.32, 0.28],
    cc_vgg_jigsaw_pp=[0.23, 0.34, 0.36, 0.35, 0.30],
    cc_hog=[0.22, 0.30, 0.30, 0.29, 0.26],
    cc_random=[0.201, 0.259, 0.251, 0.248, 0.219],
    cc_shuffled=[0.199, 0.261, 0.249, 0.251, 0.22],
    cc_jigsaw_pp_k50=[0.22, 0.31, 0.33, 0.31, 0.27],
    cc_jigsaw_pp_k400=[0.22, 0.32, 0.34, 0.31, 0.27],
    cc_jigsaw_pp_imagenet_places=[0.22, 0.31, 0.338, 0.31, 0.27],
    cc_jigsaw_pp_places_imagenet=[0.22, 0.31, 0.336, 0.31, 0.27],
    regression=[0.2, 0.2, 0.2, 0.2, 0.2],
    at_vgg_jigsaw_pp=[0.2, 0.3, 0.3, 0.3, 0.2],
)
VOC = dict(cc_hog=0.502, cc_jigsaw_pp=0.504)
COLOUR = dict(cc_context_color_drop=0.01, cc_random=0.4, cc_jigsaw_pp=0.2)


def results(seeds=3, probes=None, voc=None, colour=None, without=(), **fields):
    """What was measured: every seed 0.4 points above the one before."""
    found = []
    for seed in range(seeds):
        for network, values in (BASE | (probes or {})).items():
            shifted = [value + 0.004 * seed for value in values]
            found.append(probed(f"imagenet_probe/{network}", shifted, seed=seed, **fields))
        for network, value in (VOC | (voc or {})).items():
            stage = f"voc07_classification/{network}"
            found.append(measured(stage, value + 0.004 * seed, seed=seed))
        for network, value in (COLOUR | (colour or {})).items():
            stage, accuracy = f"train/{network}", "evaluation.accuracy"
            found.append(measured(stage, 0.38, seed=seed, metric=accuracy, saturation=value))
    return Results(one for one in found if one.stage not in without)


def outcomes(found):
    return [verdict.outcome for verdict in judge(found)]


def test_all_nine_are_held_by_numbers_like_the_papers():
    verdicts = judge(results())
    assert [verdict.number for verdict in verdicts] == list(range(1, 10))
    assert [verdict.outcome for verdict in verdicts] == [HELD] * 9, [
        verdict.sentence for verdict in verdicts if verdict.outcome != HELD
    ]
    for verdict in verdicts:
        assert verdict.sentence.startswith(f"{verdict.name} is held (")
        assert verdict.test in verdict.sentence and "\n" not in verdict.sentence


@pytest.mark.parametrize(
    ("number", "change"),
    [
        (1, dict(probes=dict(cc_vgg_jigsaw_pp=[0.3, 0.4, 0.36, 0.323, 0.36]))),
        (2, dict(probes=dict(cc_jigsaw_pp=[0.4, 0.4, 0.325, 0.4, 0.4]))),
        (3, dict(probes=dict(random=[0.1, 0.1, 0.25, 0.298, 0.1]))),
        (4, dict(probes=dict(cc_random=[0.201, 0.259, 0.26, 0.248, 0.219]))),
        (4, dict(probes=dict(cc_shuffled=[0.19, 0.261, 0.249, 0.251, 0.22]))),
        (5, dict(probes=dict(cc_jigsaw_pp_k400=[0.2, 0.2, 0.43, 0.2, 0.2]))),
        (6, dict(probes=dict(cc_jigsaw_pp_places_imagenet=[0.2, 0.2, 0.33, 0.2, 0.2]))),
        (7, dict(voc=dict(cc_hog=0.49))),
        (7, dict(probes=dict(cc_hog=[0.22, 0.30, 0.30, 0.33, 0.26]))),
        (8, dict(colour=dict(cc_context_color_drop=0.06))),
        (8, dict(colour=dict(cc_random=0.04))),
        (9, dict(probes=dict(regression=[0.2, 0.2, 0.35, 0.2, 0.2]))),
        (9, dict(probes=dict(at_vgg_jigsaw_pp=[0.2, 0.2, 0.37, 0.2, 0.2]))),
        (9, dict(voc=dict(regression=0.7))),
    ],
)
def test_one_number_beyond_its_bound_refutes_a_claim(number, change):
    assert outcomes(results(**change))[number - 1] == NOT_HELD


def test_bounds_are_of_the_spread_over_seeds():
    """Seeds 0.4 points apart have a spread of 0.4: a lead of 0.3 is none, one of 0.5 is one."""
    for lead, expected in ((0.003, NOT_HELD), (0.005, HELD)):
        vgg = [value + lead for value in BASE["cc_jigsaw_pp"]]
        assert outcomes(results(probes=dict(cc_vgg_jigsaw_pp=vgg)))[0] == expected
    for loss, expected in ((0.003, HELD), (0.005, NOT_HELD)):
        student = [value - loss for value in BASE["jigsaw_pp"]]
        assert outcomes(results(probes=dict(cc_jigsaw_pp=student)))[1] == expected


@pytest.mark.parametrize(
    ("number", "stage"),
    [
        (1, "imagenet_probe/cc_vgg_jigsaw_pp"),
        (2, "imagenet_probe/jigsaw_pp"),
        (3, "imagenet_probe/random"),
        (4, "imagenet_probe/cc_shuffled"),
        (5, "imagenet_probe/cc_jigsaw_pp_k50"),
        (6, "imagenet_probe/cc_jigsaw_pp_imagenet_places"),
        (7, "voc07_classification/cc_hog"),
        (8, "train/cc_context_color_drop"),
        (9, "imagenet_probe/regression"),
    ],
)
def test_what_was_not_run_is_named(number, stage):
    verdict = judge(results(without=[stage]))[number - 1]
    network = stage.partition("/")[2].replace("_k50", "_k*")
    assert verdict.outcome == NOT_MEASURED and network in verdict.numbers


def test_one_seed_has_no_spread():
    found = outcomes(results(seeds=1))
    assert found == [
        *(NOT_MEASURED, HELD, NOT_MEASURED, NOT_MEASURED, HELD),
        *(NOT_MEASURED, NOT_MEASURED, HELD, HELD),
    ]


def test_nothing_was_measured():
    verdicts = judge(Results([]))
    assert {verdict.outcome for verdict in verdicts} == {NOT_MEASURED}
    assert all(verdict.numbers for verdict in verdicts)


def test_the_numbers_say_what_decided():
    deeper, *_, clusters, domains, _, colour, _ = judge(results())
    assert (
        "conv3: CC+vgg-Jigsaw++ 36.4, CC+Jigsaw++ 34.4, difference +2.0, spread 0.40 of 3 seeds"
        in deeper.numbers
    )
    assert "k=50 33.4, k=400 34.4, a range of 1.0, where Jigsaw++ is 8.0 above" in clusters.numbers
    assert "a range of 0.4, spread 0.40" in domains.numbers
    assert "CC+Context-ColorDrop 0.010; of CC+Random 0.400" in colour.numbers


def test_kept_answers_add_an_interval():
    numbers = judge(results(count=1000, outcomes=True))[0].numbers
    assert ", 95% +" in numbers and ", p 0.0002" in numbers


def test_one_seed_is_tested_on_its_images():
    numbers = judge(results(seeds=1, count=1000, outcomes=True))[0].numbers
    assert "no spread of 1 seed, 95% +" in numbers and "McNemar p " in numbers


def test_random_labels_tell_how_predictable_they_are():
    numbers = judge(results())[3].numbers
    assert "CC+Random predicts 38.0 of held-out pseudo-labels" in numbers


def test_a_random_network_with_measured_statistics_is_what_random_means_where_it_was_run():
    calibrated = dict(random_calibrated=[0.2, 0.27, 0.25, 0.298, 0.22])
    verdicts = judge(results(probes=calibrated))
    assert [verdict.outcome for verdict in verdicts[2:4]] == [NOT_HELD, NOT_HELD]
    assert "conv4: Jigsaw++ 30.4, Random, statistics of batch normalisation" in verdicts[2].numbers
    beside = "Jigsaw++ less the random network as initialised: conv3 +8.0, conv4 +5.0"
    assert beside in verdicts[2].numbers
    assert "CC+Random less the random network as initialised: conv1 +0.1" in verdicts[3].numbers


def test_regression_is_compared_with_the_clusters_of_its_teacher():
    one = measured("train/regression", 1.0, inputs=dict(teacher_backbone="train/vgg_jigsaw_pp"))
    found = Results([*_all(results()), one])
    assert "conv3: Feature regression, conv4 and conv5 20.4, CC+vgg-Jigsaw++ 36.4" in (
        judge(found)[8].numbers
    )


def test_evaluations_with_other_settings_are_told():
    found = [one for one in _all(results()) if one.stage != "imagenet_probe/random"]
    found += [
        probed("imagenet_probe/random", BASE["random"], seed=seed, flags="other")
        for seed in range(3)
    ]
    assert "evaluated with different settings" in judge(Results(found))[2].numbers


def _all(found):
    return [one for by_seed in found.stages.values() for one in by_seed.values()]

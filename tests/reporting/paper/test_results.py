"""Numbers over seeds, their errors over images, and differences of two networks."""

import math
import statistics

import numpy as np
import pytest
from paper_measurements import answers, measured, packed, probed

from ccssl_tf.data.outcomes import Outcomes
from ccssl_tf.metrics.paired import mcnemar, paired_bootstrap
from ccssl_tf.reporting.paper.results import Results

CONV3 = "evaluation.accuracy/conv3"


def values(conv3):
    return [0.2, 0.3, conv3, 0.33, 0.28]


def test_seeds_of_a_stage_are_one_number():
    results = Results(
        probed("imagenet_probe/random", values(v), seed=s) for s, v in ((4, 0.2), (1, 0.26))
    )
    found = results.statistic("imagenet_probe/random", CONV3)
    assert found.values == {1: 0.26, 4: 0.2} and found.mean == pytest.approx(0.23)
    assert found.spread == pytest.approx(statistics.stdev([0.2, 0.26]))
    assert found.count is None and found.standard_error is None and found.error_by is None
    assert results.statistic("imagenet_probe/random", "evaluation.accuracy/fc6") is None
    assert results.statistic("imagenet_probe/absent", CONV3) is None
    assert results.networks("imagenet_probe") == ["random"] and results.networks("train") == []


def test_one_seed_has_no_spread_and_a_binomial_error_of_its_count():
    results = Results([probed("imagenet_probe/random", values(0.2), count=1600)])
    found = results.statistic("imagenet_probe/random", CONV3)
    assert found.spread is None and found.error_by == "binomial" and found.count == 1600
    assert found.standard_error == pytest.approx(math.sqrt(0.2 * 0.8 / 1600))


def test_answers_that_were_kept_give_the_error_of_the_mean_over_seeds():
    results = Results(
        probed("imagenet_probe/random", values(0.3), seed=s, count=1000, outcomes=True)
        for s in range(3)
    )
    found = results.statistic("imagenet_probe/random", CONV3)
    shares = np.mean([answers(0.3, seed=s) for s in range(3)], 0)
    assert found.error_by == "bootstrap"
    assert found.standard_error == pytest.approx(shares.std() / math.sqrt(1000))


def test_means_of_precision_have_no_error_over_images():
    results = Results([measured("voc07_classification/random", 0.45, count=99)])
    found = results.statistic("voc07_classification/random", "evaluation.mean_average_precision")
    assert found.mean == 0.45 and found.standard_error is None


def test_the_last_convolution_of_a_stage_stands_for_it():
    metrics = {"evaluation.accuracy/conv3_2": 0.1, "evaluation.accuracy/conv3_3": 0.2}
    one = measured("imagenet_probe/vgg_jigsaw_pp", 0.2, metric="evaluation.accuracy/conv3_3")
    one.metrics.update(metrics)
    assert Results([one]).statistic(one.stage, CONV3).mean == 0.2


def two(outcomes=True, **second):
    sides = dict(jigsaw_pp=0.36, random=0.30)
    return Results(
        probed(
            f"imagenet_probe/{network}",
            values(share + 0.01 * seed),
            seed=seed,
            count=1000,
            outcomes=outcomes,
            **(second if network == "random" else {}),
        )
        for network, share in sides.items()
        for seed in range(3 if network == "random" else 2)
    )


def test_networks_are_compared_over_the_seeds_that_both_have():
    found = two().contrast(CONV3, "imagenet_probe/jigsaw_pp", "imagenet_probe/random")
    assert found.label == "conv3" and found.seeds == 2 and found.same_settings
    assert found.difference == pytest.approx(0.06)
    assert (found.first, found.second) == pytest.approx((0.365, 0.305))
    assert found.spread == pytest.approx(statistics.stdev([0, 0.01]))
    first, second = (
        [answers(share + 0.01 * seed, seed=seed) for seed in range(2)] for share in (0.36, 0.30)
    )
    assert found.bootstrap == paired_bootstrap(first, second) and found.disagreement is None


def test_one_seed_has_the_exact_test_of_its_images():
    results = Results(
        probed(f"imagenet_probe/{network}", values(share), count=1000, outcomes=True)
        for network, share in dict(jigsaw_pp=0.36, random=0.30).items()
    )
    found = results.contrast(CONV3, "imagenet_probe/jigsaw_pp", "imagenet_probe/random")
    assert found.disagreement == mcnemar(answers(0.36), answers(0.30)) and found.spread is None


def test_without_answers_there_is_the_spread_alone_and_settings_are_compared():
    found = two(outcomes=False, flags="others").contrast(
        CONV3, "imagenet_probe/jigsaw_pp", "imagenet_probe/random", "third"
    )
    assert found.bootstrap is None and found.spread is not None
    assert found.label == "third" and not found.same_settings


def test_nearest_neighbours_have_one_accuracy():
    bits = packed(answers(0.3)).tobytes()
    one = measured(
        "imagenet_knn/random",
        0.3,
        metric="evaluation.accuracy",
        count=1000,
        outcomes=Outcomes(1000, {"features": bits}),
    )
    found = Results([one]).statistic("imagenet_knn/random", "evaluation.accuracy")
    assert found.error_by == "bootstrap"


def test_answers_to_other_images_are_not_paired():
    results = two(data="others")
    found = results.contrast(CONV3, "imagenet_probe/jigsaw_pp", "imagenet_probe/random")
    assert found.bootstrap is None and not found.same_settings and found.spread is not None
    of_seeds = Results(
        probed("imagenet_probe/a", values(0.3), seed=s, count=1000, outcomes=True, data=str(s))
        for s in range(2)
    )
    assert of_seeds.statistic("imagenet_probe/a", CONV3).error_by == "binomial"


def test_nothing_is_compared_without_a_seed_in_common():
    results = Results(
        [
            probed("imagenet_probe/jigsaw_pp", values(0.3), seed=0),
            probed("imagenet_probe/random", values(0.2), seed=1),
        ]
    )
    first, second = "imagenet_probe/jigsaw_pp", "imagenet_probe/random"
    assert results.contrast(CONV3, first, second) is None
    assert results.contrast(CONV3, first, "imagenet_probe/none") is None
    assert results.contrast(CONV3, first, first).spread is None


def test_stages_of_mixed_settings_are_named():
    results = Results(
        [
            measured("train/a", 0.1, seed=0, commit="1"),
            measured("train/a", 0.1, seed=1, commit="2"),
            measured("train/b", 0.1, seed=0, flags="x"),
            measured("train/b", 0.1, seed=1, flags="x"),
        ]
    )
    assert results.mixed_stages() == ["train/a"]

"""The paper's numbers are those that were transcribed, and each has a stage and metric."""

import csv
import pathlib
import types

import numpy as np
import pytest

from ccssl_tf.reporting.paper.tables import TITLES, network_name, paper_numbers

SHARED = pathlib.Path(__file__).parents[3] / "../shared/paper_tables.csv"
EVALUATIONS = {
    *("voc07_classification", "detection", "segmentation", "imagenet_probe", "places_probe"),
    *(f"frozen_{layer}" for layer in ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")),
}


@pytest.mark.skipif(not SHARED.is_file(), reason="no ../shared/paper_tables.csv to compare with")
def test_every_number_is_as_transcribed_and_none_is_missing():
    with SHARED.open(newline="") as lines:
        theirs = [tuple(row.values()) for row in csv.DictReader(lines)]
    file = pathlib.Path(__file__).parents[3] / "ccssl_tf/reporting/paper/tables.csv"
    with file.open(newline="") as lines:
        ours = [tuple(row.values())[:5] for row in csv.DictReader(lines)]
    assert ours == theirs


def test_every_number_has_a_stage_and_a_metric_of_its_own():
    numbers = paper_numbers()
    assert len(numbers) == 268 and {number.table for number in numbers} == set(TITLES)
    assert {number.evaluation for number in numbers} == EVALUATIONS
    for number in numbers:
        assert number.network and "/" not in number.network and " " not in number.network
        assert 0 < number.value < 100 and number.metric.startswith("evaluation.")
    for table in TITLES:
        cells = [(n.stage, n.metric) for n in numbers if n.table == table]
        assert len(cells) == len(set(cells)), table
        rows = {(n.row, n.network) for n in numbers if n.table == table}
        if table in "3456":
            assert len(rows) == len({row for row, _ in rows}) == len({n for _, n in rows}), table


def test_columns_of_layers_are_measured_on_that_layer():
    for number in paper_numbers():
        if number.table in "456":
            assert number.metric == f"evaluation.accuracy/{number.column}"
        if number.table == "6":
            assert number.evaluation == f"frozen_{number.column}"
        if number.table == "1":
            assert number.network == f"cc_jigsaw_pp_k{number.column}"


def test_the_metrics_are_those_the_evaluations_write(monkeypatch):
    from ccssl_tf.downstream import class_ranking, detection_evaluation, detections
    from ccssl_tf.downstream.fast_rcnn import FastRCNN
    from ccssl_tf.downstream.linear_probe import last_of_each_stage
    from ccssl_tf.metrics.segmentation import ConfusionMatrix
    from ccssl_tf.models.alexnet import AlexNet

    scores, presence = np.array([[0.9], [0.1]]), np.array([[1], [-1]])
    monkeypatch.setattr(detections, "average_precisions", lambda *arguments: {0: 0.5})
    scales = types.SimpleNamespace(
        detection_test_scale=600,
        detection_test_max_side=1000,
        detection_scales=(480, 600),
        detection_max_side=2000,
    )
    suffixes = FastRCNN._schemes(types.SimpleNamespace(settings=scales))
    detected = [detection_evaluation.precisions(None, None, ["cat"], name)[0] for name in suffixes]
    confusion = ConfusionMatrix(2)
    confusion.update(np.zeros([2, 2], np.uint8), np.zeros([2, 2], np.uint8))
    layers = last_of_each_stage(AlexNet(stem="small", width_multiplier=0.1).endpoint_names)
    written = {
        "voc07_classification": set(class_ranking.mean_average_precisions(scores, presence)),
        "detection": {name for of_scheme in detected for name in of_scheme},
        "segmentation": set(confusion.results()),
        "imagenet_probe": {f"accuracy/{layer}" for layer in layers},
        "places_probe": {f"accuracy/{layer}" for layer in layers},
    }
    for number in paper_numbers():
        frozen = {f"accuracy/{number.evaluation.removeprefix('frozen_')}"}
        name = number.metric.removeprefix("evaluation.")
        assert name in written.get(number.evaluation, frozen), number


@pytest.mark.parametrize(
    ("network", "name"),
    [
        ("cc_vgg_jigsaw_pp", "CC+vgg-Jigsaw++"),
        ("supervised", "Supervised"),
        ("cc_jigsaw_pp_k50", "CC+Jigsaw++, 50 clusters"),
        ("cc_jigsaw_pp_places_imagenet", "CC+Jigsaw++, clusters of Places on ImageNet"),
        ("cc_shuffled", "CC, shuffled pseudo-labels"),
        ("something_new", "something_new"),
    ],
)
def test_networks_have_the_papers_names(network, name):
    assert network_name(network) == name

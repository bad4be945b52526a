"""Evaluations: the main number comes first, and the best network shows what it drew."""

from ccssl_tf.reporting import evaluation_section
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.reporting.summary import summarise


def texts(table):
    return [[cell.lines[0] for cell in row] for row in (table.head, *table.rows)]


def test_the_main_metric_comes_first_and_the_best_network_is_pictured(runs):
    runs.method()
    for name, init, value in (("voc_random", None, 0.412), ("voc_cc", "cc", 0.634)):
        inputs = dict(data_dir="data") | (dict(init_backbone=init) if init else {})
        evaluation = {"loss": 1.0, "average_precision/cat": 0.5, "mean_average_precision": value}
        facts = dict(chance=0.07, definition="mAP of ours")
        runs.add(
            name,
            f"ccssl_tf.train --task=voc07_classification --workdir={name}",
            inputs=inputs,
            metrics=dict(step=80, evaluation=evaluation, facts=facts),
            output="backbone.json",
            pictures=["conv1_filters", "ranking"],
        )
    run_set = RunSet(runs.root)
    section = evaluation_section.section(run_set, summarise(run_set), "voc07_classification")
    assert section["title"] == "Classes in a photo: mean average precision"
    assert texts(section["table"]) == [
        ["", "mAP", "chance", "steps"],
        ["random", "41.2", "7.0%", "80"],
        ["CC+Jigsaw++", "63.4", "7.0%", "80"],
    ]
    assert section["how"]["definition"] == "mAP of ours"
    assert [figure.alternative for figure in section["examples"]] == [
        "Ranking: Voc07 classification of CC+Jigsaw++"
    ]


def test_segmentation_has_its_chance(runs):
    metrics = dict(
        step=9,
        evaluation=dict(mean_iou=0.052, pixel_accuracy=0.7, loss=1.0),
        facts=dict(chance=dict(mean_iou=0.032, pixel_accuracy=0.67)),
    )
    runs.add("fcn", "ccssl_tf.train --task=fcn", metrics=metrics, output="segmenter.keras")
    run_set = RunSet(runs.root)
    section = evaluation_section.section(run_set, summarise(run_set), "fcn")
    assert texts(section["table"]) == [
        ["", "mean iou", "pixel accuracy", "chance", "steps"],
        ["random", "5.2", "70.0", "3.2%", "9"],
    ]

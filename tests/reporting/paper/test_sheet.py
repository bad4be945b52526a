"""The sheet has a line for every number, ours in %, empty where there is none."""

import csv
import io

import pytest
from paper_measurements import measured, probed

from ccssl_tf.reporting.paper.comparison import compare
from ccssl_tf.reporting.paper.results import Results
from ccssl_tf.reporting.paper.sheet import COLUMNS, as_csv


def lines(*measurements):
    return list(csv.DictReader(io.StringIO(as_csv(compare(Results(measurements))))))


def test_every_number_of_the_paper_has_a_line():
    found = lines()
    assert len(found) == 268 and tuple(found[0]) == COLUMNS
    assert found[0]["paper"] == "69.1" and found[0]["ours"] == "" and found[0]["seeds"] == ""


def test_our_numbers_are_in_percent_with_their_errors():
    values = [0.2, 0.3, 0.3, 0.3, 0.3]
    found = lines(
        probed("imagenet_probe/cc_hog", values, seed=0, count=1600),
        probed("imagenet_probe/cc_hog", [0.21, *values[1:]], seed=1, count=1600),
        measured("voc07_classification/cc_hog", 0.4),
        probed("imagenet_probe/new", values),
    )
    (probe,) = (
        line
        for line in found
        if (line["table"], line["row"], line["column"]) == ("4", "CC+HOG", "conv1")
    )
    assert float(probe["ours"]) == pytest.approx(20.5)
    assert float(probe["spread"]) == pytest.approx(0.7071)
    assert float(probe["standard_error"]) == pytest.approx(1.0093)
    assert (probe["seeds"], probe["standard_error_by"], probe["images"]) == (
        "2",
        "binomial",
        "1600",
    )
    (voc,) = (line for line in found if line["stage"] == "voc07_classification/cc_hog")
    assert (voc["paper"], voc["ours"], voc["spread"], voc["standard_error"]) == (
        *("70.2", "40.0000"),
        *("", ""),
    )
    assert len(found) == 268 + 5 and [line["paper"] for line in found if line["row"] == "new"] == (
        [""] * 5
    )

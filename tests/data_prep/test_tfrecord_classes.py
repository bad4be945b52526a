"""Numbers anew from 0, and where their names come from."""

from collections import Counter

import pytest

from ccssl_tf.runs.errors import InputError
from data_prep.faults import Faults
from data_prep.tfrecord_classes import number_classes


@pytest.mark.parametrize(
    ("labels", "names", "numbers"),
    [
        ({1: [b"ant"], 2: [b"bee"]}, ["ant", "bee"], {1: 0, 2: 1}),
        ({5: [], 0: []}, ["0", "5"], {0: 0, 5: 1}),
        ({1: [b"x"], 2: [b"x"]}, ["1", "2"], {1: 0, 2: 1}),
        ({-1: [], 3: []}, ["3"], {-1: -1, 3: 0}),
        ({"dog": [], "cat": []}, ["cat", "dog"], {"cat": 0, "dog": 1}),
        ({-1: []}, None, {-1: -1}),
        ({}, None, {}),
    ],
)
def test_names_and_numbers(labels, names, numbers):
    faults = Faults("source")
    counted = {label: Counter(texts) for label, texts in labels.items()}
    assert number_classes(counted, None, faults) == (names, numbers)
    assert not faults.count


def test_numbers_among_names_are_told():
    faults = Faults("source")
    number_classes({1: Counter(), "dog": Counter()}, None, faults)
    with pytest.raises(InputError, match="a number in some records, in others a name"):
        faults.refuse()

"""Which names are the classes, and what is told of others."""

from collections import Counter

import pytest

from ccssl_tf.runs.errors import InputError
from data_prep.faults import Faults
from data_prep.voc_classes import mask_classes, object_classes
from data_prep.voc_xml import CLASSES


@pytest.mark.parametrize(
    ("used", "listed", "given", "names"),
    [
        (["dog", "person"], (), None, CLASSES),
        (["dog"], CLASSES, None, CLASSES),
        ([], (), None, CLASSES),
        (["dog"], ("dog", "cat"), None, ["cat", "dog"]),
        (["helmet", "person"], (), None, ["helmet", "person"]),
        (["helmet"], CLASSES, None, ["helmet"]),
        (["b"], (), ["c", "b", "a"], ["c", "b", "a"]),
    ],
)
def test_classes_of_objects(used, listed, given, names):
    faults = Faults("source")
    assert object_classes("source", Counter(used), listed, given, faults) == names
    assert not faults.count


def test_classes_that_are_not_known_are_told_with_their_number():
    faults = Faults("source")
    object_classes("source", Counter(dog=3, dgo=2, ct=1), CLASSES, None, faults)
    with pytest.raises(InputError, match="2 faults: unknown class 'ct' of 1 .*'dgo' of 2 objects"):
        faults.refuse()


def test_classes_of_masks():
    assert mask_classes("source", None, None) == (CLASSES, None)
    assert mask_classes("source", None, ["a"]) == (["a"], None)
    text = (
        b"\xef\xbb\xbf# label:color_rgb:parts:actions\nbackground:0,0,0::\nb:1,2,3::\na:4,5,6::\n"
    )
    table = {(0, 0, 0): 0, (1, 2, 3): 1, (4, 5, 6): 2}
    assert mask_classes("source", text, None) == (["b", "a"], table)
    names, table = mask_classes("source", text, ["a", "b"])
    assert names == ["a", "b"] and table[4, 5, 6] == 1
    for content, said in (
        (b"a\n", "line 1: 'a': expected"),
        (b"a:1,2,300::\n", "line 1"),
        (b"a:1,2,3::\nb:1,2,3::\n", "two classes one colour"),
    ):
        with pytest.raises(InputError, match=said):
            mask_classes("source", content, None)
    with pytest.raises(InputError, match="labelmap.txt names b, a, --classes c; mend one"):
        mask_classes("source", text, ["c"])

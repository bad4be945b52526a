import pytest

from data_prep.split_names import split_of_name


@pytest.mark.parametrize(
    "text, split",
    [
        ("train", "train"),
        ("Training", "train"),
        ("training_set", "train"),
        ("VAL", "val"),
        ("valid", "val"),
        (" validation ", "val"),
        ("test-set", "test"),
        ("Testing", "test"),
        ("trainval", "trainval"),
        ("unlabelled", "unlabeled"),
        ("cat", None),
        ("trains", None),
        ("", None),
    ],
)
def test_spellings(text, split):
    assert split_of_name(text) == split

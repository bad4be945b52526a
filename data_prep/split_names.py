"""Which split a folder, a file or a value of a list means, in the spellings that are in use."""

import re

# Spelling, in lower case without blanks, dots, dashes and underscores -> name of the split.
_SPELLINGS = {
    spelling: split
    for split, spellings in {
        "train": ("train", "training", "trainset", "trainingset"),
        "val": ("val", "valid", "validate", "validation", "valset", "validationset", "dev"),
        "test": ("test", "testing", "testset"),
        "trainval": ("trainval", "trainvalid", "trainvalidation"),
        "unlabeled": ("unlabeled", "unlabelled"),
    }.items()
    for spelling in spellings
}


def split_of_name(text: str) -> str | None:
    """Returns "train", "val", "test", "trainval" or "unlabeled"; None if the text means no split.

    >>> split_of_name("Validation"), split_of_name("training_set"), split_of_name("cat")
    ('val', 'train', None)
    """
    return _SPELLINGS.get(re.sub(r"[\s._-]", "", text).lower())

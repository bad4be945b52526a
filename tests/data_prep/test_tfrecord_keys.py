"""What the records of a file are guessed to hold; listings are in test_tfrecord_layout.py."""

import pytest
from foreign_records import jpeg, write

from ccssl_tf.runs.errors import InputError
from data_prep.tfrecord_keys import Keys, guess_keys


@pytest.mark.parametrize(
    ("row", "keys"),
    [
        (dict(image=jpeg(), label=1), Keys("image", "label", None, None, False)),
        (
            {
                "image/encoded": jpeg(),
                "image/class/label": 1,
                "image/class/text": b"x",
                "image/filename": b"y",
            },
            Keys("image/encoded", "image/class/label", "image/class/text", "image/filename", False),
        ),
        (dict(photo=jpeg(), id=3), Keys("photo", None, None, "id", False)),
        (
            {"image/encoded": jpeg(), "image/object/class/label": [], "image/class/label": 1},
            Keys("image/encoded", None, None, None, True, ("image/class/label",)),
        ),
    ],
)
def test_guesses(tmp_path, row, keys):
    assert guess_keys([write(tmp_path / "a.tfrecord", [row])]) == keys


def test_first_records_of_every_split_count(tmp_path):
    """A test split without labels comes first, and so does an image without boxes."""
    test = write(tmp_path / "test.tfrecord", [dict(image=jpeg(), id=b"x")])
    rows = [dict(image=jpeg(), id=b"y"), {"image": jpeg(), "class": 3, "id": b"z", "size": [5, 5]}]
    train = write(tmp_path / "train.tfrecord", rows)
    assert guess_keys([test, train]) == Keys("image", "class", None, "id", False, ("size",))
    boxed = {"image": jpeg(), "image/object/class/label": [2], "image/object/bbox/xmin": [0.5]}
    first = write(tmp_path / "a.tfrecord", [dict(image=jpeg()), boxed])
    assert guess_keys([first]).has_objects
    assert not guess_keys([write(tmp_path / "b.tfrecord", rows[:1])]).has_objects


def test_masks_and_synsets(tmp_path):
    row = {
        "image/encoded": jpeg(),
        "image/segmentation/class/encoded": jpeg(1),
        "image/class/label": 1,
        "image/class/text": b"crane",
        "image/class/synset": b"n02012849",
    }
    keys = guess_keys([write(tmp_path / "a.tfrecord", [row])])
    assert (keys.image, keys.text) == ("image/encoded", "image/class/synset")
    assert keys.others == ("image/class/text", "image/segmentation/class/encoded")


def test_a_damaged_first_record_is_told(tmp_path):
    path = write(tmp_path / "a.tfrecord", [dict(image=jpeg(), label=1)])
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InputError, match="truncated at byte 0"):
        guess_keys([path])

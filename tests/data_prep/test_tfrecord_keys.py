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
            Keys("image/encoded", None, None, None, True),
        ),
    ],
)
def test_guesses(tmp_path, row, keys):
    assert guess_keys(write(tmp_path / "a.tfrecord", [row])) == keys


def test_a_damaged_first_record_is_told(tmp_path):
    path = write(tmp_path / "a.tfrecord", [dict(image=jpeg(), label=1)])
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InputError, match="truncated at byte 0"):
        guess_keys(path)

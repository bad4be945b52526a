"""Names of any bytes there and back, and files that are not whole."""

import csv

import numpy as np
import pytest

from ccssl_tf.data import image_list
from ccssl_tf.runs.errors import CorruptArtifactError

NAMES = [
    b"a.jpg",
    b"x/b c,d.jpg",
    b'say "hi".jpg',
    b"caf\xc3\xa9.jpg",
    b"caf\xe9.jpg",
    b"a\nb\r.jpg",
]
NAMES += [rb"back\slash\x41.jpg", b"\\", b"\xff\xfe", b"tab\t.jpg", "nbsp\u00a0.jpg".encode()]


def test_names_of_any_bytes_come_back():
    random = np.random.default_rng(0)
    for name in [*NAMES, *(random.bytes(random.integers(1, 40)) for _ in range(500))]:
        text = image_list.text_of(name)
        assert text.isprintable() and image_list.filename_of(text) == name


def _write(directory, split_rows=(("train", NAMES), ("val", NAMES[:3]))):
    rows = [
        image_list.row(index, name, split, index % 3 - 1, ["ant", "bee"])
        for split, names in split_rows
        for index, name in enumerate(names)
    ]
    image_list.write(directory, rows)


def test_what_is_written_is_read_by_anyone(tmp_path):
    _write(tmp_path)
    with open(tmp_path / "images.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(NAMES) + 3
    assert rows[1] == {
        "index": "1",
        "filename": "x/b c,d.jpg",
        "split": "train",
        "label": "0",
        "class": "ant",
    }
    assert rows[0]["label"] == "-1" and rows[0]["class"] == ""
    assert image_list.filenames(tmp_path, "train", len(NAMES)) == NAMES
    assert image_list.filenames(tmp_path, "val", 3) == NAMES[:3]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data[:-1].rpartition(b"\n")[0] + b"\n", "images of split val instead of 3"),
        (lambda data: b"x" + data, "its header is"),
        (lambda data: data + b"1,2\n", "line 1[0-9]: '1,2', expected index"),
        (lambda data: data.replace(b"a.jpg", b"a\xe9.jpg"), "damaged"),
        (lambda data: data + b'0,"a', "damaged"),
    ],
)
def test_files_that_are_not_whole(tmp_path, damage, said):
    _write(tmp_path)
    path = tmp_path / "images.csv"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CorruptArtifactError, match=said):
        image_list.filenames(tmp_path, "val", 3)


def test_older_data_sets_have_none(tmp_path):
    with pytest.raises(FileNotFoundError):
        image_list.filenames(tmp_path, "val", 3)

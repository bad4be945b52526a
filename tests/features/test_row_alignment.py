"""Every row finds its image, in any order; what finds none is told."""

import numpy as np
import pytest
from conftest import jpeg_of, smooth_picture

from ccssl_tf.data import image_list, records
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.features.feature_rows_file import open_rows
from ccssl_tf.features.row_alignment import filenames, rows_of_images
from ccssl_tf.runs.errors import InputError

NAMES = {
    "train": [b"a/1.jpg", b"a/2.jpg", b"b/3.jpg", b"b/caf\xe9.jpg", b"c/5.png"],
    "val": [b"d/6.jpg", b"d/7.jpg"],
}


def _write(directory, names):
    directory.mkdir()
    splits = {}
    for split, found in names.items():
        examples = [
            records.image_example(
                encoded=jpeg_of(smooth_picture(index, 8, 8)),
                filename=name,
                height=8,
                width=8,
                index=index,
            )
            for index, name in enumerate(found)
        ]
        # In another order than that of the indices.
        path = directory / f"{split}-00000-of-00001.tfrecord"
        splits[split] = [records.write_shard(path, examples[::-1])]
    Manifest("images", splits, dict(class_names=None)).write(directory)
    return directory


@pytest.fixture
def data_dir(tmp_path):
    return _write(tmp_path / "data", NAMES)


def _rows(path, names=None, indices=None, **more):
    """A file whose row i is filled with i."""
    count = len(names if names is not None else indices)
    arrays = dict(features=np.repeat(np.arange(count, dtype=np.float32)[:, None], 2, 1))
    if names is not None:
        arrays["filenames"] = np.array(names)
    if indices is not None:
        arrays["indices"] = np.array(indices)
    np.savez(path / "rows.npz", **arrays, **more)
    return open_rows(path / "rows.npz")


def test_names_in_any_order_with_those_of_other_splits(data_dir, tmp_path, capsys):
    every = NAMES["train"] + NAMES["val"] + [b"x/else.jpg"]
    order = np.random.default_rng(0).permutation(len(every))
    rows = _rows(tmp_path, [every[k] for k in order])
    for split, first in (("train", 0), ("val", 5)):
        found = rows_of_images(rows, data_dir, split)
        assert [order[row] - first for row in found] == list(range(len(NAMES[split])))
    output = capsys.readouterr().out
    assert "3 rows are of no image of this split and not used" in output and "x/else.jpg" in output


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda name: b"./" + name, ""),
        (lambda name: name.rpartition(b".")[0], "without suffix"),
        (lambda name: b"/data/photos/" + name, "without folders"),
        (lambda name: b"C:\\photos\\" + name.replace(b"/", b"\\"), "without folders"),
        (lambda name: name.rpartition(b"/")[2].rpartition(b".")[0], "without folders and suffix"),
    ],
)
def test_names_of_another_form(data_dir, tmp_path, capsys, change, said):
    rows = _rows(tmp_path, [change(name) for name in NAMES["train"][::-1]])
    assert rows_of_images(rows, data_dir, "train").tolist() == [4, 3, 2, 1, 0]
    output = capsys.readouterr().out
    assert (f"names are compared {said}\n" in output) if said else "compared" not in output


def test_missing_double_and_foreign_names_are_listed(data_dir, tmp_path):
    names = [NAMES["train"][k] for k in (0, 1, 1, 4)] + [b"z.jpg"]
    with pytest.raises(InputError) as caught:
        rows_of_images(_rows(tmp_path, names), data_dir, "train")
    text = str(caught.value)
    assert "2 of the 5 images have no row: b/3.jpg, b/caf\\xe9.jpg" in text
    assert "1 images have several rows: a/2.jpg" in text
    assert "1 rows are of no image: z.jpg" in text


def test_twenty_of_many_are_named(tmp_path):
    directory = _write(tmp_path / "data", {"train": [b"%d.jpg" % n for n in range(30)]})
    with pytest.raises(InputError, match=r"29 of the 30 .*: 1.jpg, .*20.jpg and 9 more$"):
        rows_of_images(_rows(tmp_path, [b"0.jpg"]), directory, "train")


def test_two_images_are_never_one(tmp_path):
    """Base names that are not unique are not compared."""
    directory = _write(tmp_path / "data", {"train": [b"a/1.jpg", b"b/1.jpg"]})
    with pytest.raises(InputError, match="2 of the 2 images have no row"):
        rows_of_images(_rows(tmp_path, [b"x/a/1.jpg", b"x/b/1.jpg"]), directory, "train")
    same = _write(tmp_path / "same", {"train": [b"1.jpg", b"1.jpg"]})
    with pytest.raises(InputError, match="1 images of split train share their names with others"):
        rows_of_images(_rows(tmp_path, [b"1.jpg", b"1.jpg"]), same, "train")


def test_indices_and_splits(data_dir, tmp_path, capsys):
    rows = _rows(tmp_path, indices=[4, 2, 0, 1, 3])
    assert rows_of_images(rows, data_dir, "train").tolist() == [2, 3, 1, 4, 0]
    splits = ["train"] * 5 + ["val"] * 2
    rows = _rows(tmp_path, indices=[0, 1, 2, 3, 4, 1, 0], splits=splits)
    assert rows_of_images(rows, data_dir, "val").tolist() == [6, 5]
    rows = _rows(tmp_path, indices=[0, 1, 2, 3, 4, 9])
    assert rows_of_images(rows, data_dir, "train").tolist() == [0, 1, 2, 3, 4]
    assert "1 rows are of no image of this split and not used: 9" in capsys.readouterr().out
    with pytest.raises(InputError, match="1 of the 5 .*no row: 3; 1 images have several rows: 1"):
        rows_of_images(_rows(tmp_path, indices=[0, 1, 1, 2, 4]), data_dir, "train")


def test_the_list_of_images_is_read_where_there_is_one(data_dir):
    assert filenames(data_dir, "train") == NAMES["train"]
    rows = [
        image_list.row(index, name, split, -1, None)
        for split, names in NAMES.items()
        for index, name in enumerate(names)
    ]
    image_list.write(data_dir, rows)
    for split, names in NAMES.items():
        assert filenames(data_dir, split) == names

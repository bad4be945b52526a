"""Files by what they are; whole sources are in test_voc_layout.py."""

import pytest

from ccssl_tf.runs.errors import InputError
from data_prep import voc_files


def _tree(root, names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def test_ids_of_lists():
    known = {"a b", "1", "x/2"}
    data = b"a b.jpg\r\n1 -1\nx/2.PNG\n\n"
    assert voc_files.read_ids("list", data, known) == ["a b", "1", "x/2"]
    with pytest.raises(InputError, match="list: names 1 twice"):
        voc_files.read_ids("list", b"1.jpg\n1\n", known)
    with pytest.raises(InputError, match="list: names no images"):
        voc_files.read_ids("list", b"\xef\xbb\xbf\n", known)


def test_images_and_annotations_side_by_side(tmp_path, capsys):
    names = (
        "train/1.jpg",
        "train/1.xml",
        "train/2.png",
        "valid/images/3.JPG",
        "valid/labels/3.xml",
    )
    files = voc_files.find_files(_tree(tmp_path, names), 2007)
    assert files.folders == {"train": ["train/1"], "val": ["valid/images/3"]}
    assert files.annotations.keys() == {"train/1", "valid/images/3"}
    assert "leaving out 1 images without .xml file, the first train/2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("a.jpg", "b.txt"), "nor images with .xml files"),
        (("1.jpg", "1.png", "1.xml"), "1.jpg and 1.png would be one image"),
        (("a/1.jpg", "b/1.jpg", "c/1.xml"), "c/1.xml may be of a/1 or b/1"),
    ],
)
def test_sources_that_do_not_do(tmp_path, names, said):
    with pytest.raises(InputError, match=said):
        voc_files.find_files(_tree(tmp_path, names), 2007)

"""Categories, splits and images as instances files name them."""

import pathlib
import tarfile

import pytest
from foreign_records import jpeg

from ccssl_tf.runs.errors import InputError
from data_prep.coco_file import SourceImages, read_categories, split_of


def _content(*categories, used=()):
    annotations = [dict(category_id=number) for number in used]
    return dict(
        categories=[dict(id=n, name=name) for n, name in categories], annotations=annotations
    )


def test_categories_of_several_files(capsys):
    one, other = _content((3, "cat"), (1, "dog")), _content((3, "cat"), (9, "cow"))
    assert read_categories(dict(a=one, b=other)) == {1: "dog", 3: "cat", 9: "cow"}
    assert capsys.readouterr().out == ""
    with pytest.raises(InputError, match="b: calls category 3 'ant', another file 'cat'"):
        read_categories(dict(a=one, b=_content((3, "ant"))))


def test_categories_of_one_name(capsys):
    """Some tools write the group as a category of its own, without annotations."""
    grouped = _content((0, "fish"), (1, "fish"), (2, "crab"), used=(1, 2))
    assert read_categories(dict(a=grouped)) == {1: "fish", 2: "crab"}
    assert "leaving out the categories 0: without annotations" in capsys.readouterr().out
    with pytest.raises(InputError, match="several categories are called fish; rename one"):
        read_categories(dict(a=_content((0, "fish"), (1, "fish"), used=(0, 1))))
    with pytest.raises(InputError, match="called fish, and none has annotations"):
        read_categories(dict(a=_content((0, "fish"), (1, "fish"))))
    with pytest.raises(InputError, match="called fish; rename one"):
        read_categories(
            dict(a=_content((0, "fish"), used=(0,)), b=_content((1, "fish"), used=(1,)))
        )


@pytest.mark.parametrize(
    ("path", "names", "split"),
    [
        ("annotations/instances_val2017.json", ["a.jpg"], "val"),
        ("valid/_annotations.coco.json", ["a.jpg"], "val"),
        ("x.json", ["train/a.jpg", "train/b.jpg"], "train"),
        ("x.json", ["data\\test2014\\a.jpg"], "test"),
        ("test_my_set_0/x.json", ["a.jpg"], None),
        ("x.json", ["train/a.jpg", "val/b.jpg"], None),
    ],
)
def test_the_split_of_a_file(path, names, split):
    content = dict(images=[dict(file_name=name) for name in names])
    if split:
        assert split_of(pathlib.Path("/data", path), content) == split
    else:
        with pytest.raises(InputError, match="say --splits"):
            split_of(pathlib.Path("/data", path), content)


@pytest.fixture
def images(tmp_path):
    """Pictures of the same names in folders of two splits."""
    for name in ("train/0.jpg", "valid/0.jpg", "valid/1.jpg", "valid/deep/2.jpg", "other/2.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg())
    return tmp_path


@pytest.mark.parametrize(
    ("name", "split", "path", "found"),
    [
        ("0.jpg", "train", "x.json", b"train/0.jpg"),
        ("0.jpg", "val", "x.json", b"valid/0.jpg"),
        ("0.jpg", "test", "valid/_annotations.coco.json", b"valid/0.jpg"),
        ("./train/0.jpg", "val", "x.json", b"train/0.jpg"),
        ("train\\0.jpg", "val", "x.json", b"train/0.jpg"),
        ("upload/1.jpg", "val", "x.json", b"valid/1.jpg"),
        ("deep/2.jpg", "test", "x.json", b"valid/deep/2.jpg"),
    ],
)
def test_images_are_found(images, name, split, path, found):
    file, why = SourceImages(images).find(name, split, images / path)
    assert file.name == found and why == ""


def test_images_that_are_not_found(images):
    source = SourceImages(images)
    assert source.find("9.jpg", "val", "x.json") == (None, "is not below --source")
    assert source.find("0.jpg", "test", "x.json")[1] == "may be any of train/0.jpg, valid/0.jpg"
    (images / "none").mkdir()
    with pytest.raises(InputError, match="holds no images"):
        SourceImages(images / "none")


def test_images_of_a_tar(images, tmp_path):
    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        archive.add(images / "train", "train2017")
    file, _ = SourceImages(tmp_path / "all.tar").find("0.jpg", "train", "x.json")
    assert file.name == b"train2017/0.jpg" and file.location[0].endswith("all.tar")

import collections
import io
import pathlib
import tarfile

import pytest

from ccssl_tf.runs.errors import InputError
from data_prep import places_layout

PACK = pathlib.Path(__file__).parents[2] / "../shared/data/places-mini"
PREFIX_205 = "data/vision/torralba/deeplearning/images256/"
CLASSES = ["a/abbey", "a/airfield", "c/church/outdoor"]
TRAIN = [f"{folder}/{i:08}.jpg" for folder in CLASSES for i in (1, 2)]
VAL_205 = [f"{folder}/00000003.jpg" for folder in CLASSES]
VAL_365 = [f"Places365_val_{i:08}.jpg" for i in (1, 2, 3)]


def _write_tree(root, names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def _write_tar(path, names):
    with tarfile.open(path, "w") as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(name)
            archive.addfile(info, io.BytesIO(name.encode()))


def _list(names, start="", labels=None):
    labels = labels or [CLASSES.index(name.rpartition("/")[0]) for name in names]
    return "".join(f"{start}{name} {label}\n" for name, label in zip(names, labels, strict=True))


def _places205(root, tar=True, folder="trainvalsplit_places205"):
    names = [PREFIX_205 + name for name in VAL_205 + TRAIN]
    (root / folder).mkdir(parents=True, exist_ok=True)
    _write_tar(root / "imagesPlaces205_resize.tar", names) if tar else _write_tree(root, names)
    (root / folder / "train_places205.csv").write_text(_list(TRAIN))
    (root / folder / "val_places205.csv").write_text(_list(VAL_205))
    (root / "categoryIndex_places205.csv").write_text(
        "".join(f"/{name} {i}\r\n" for i, name in enumerate(CLASSES))
    )
    return root


def _places365(root, kind):
    root.mkdir(exist_ok=True)
    if kind == "tar":
        _write_tar(root / "train_256_places365standard.tar", ["data_256/" + name for name in TRAIN])
        _write_tar(root / "val_256.tar", ["val_256/" + name for name in VAL_365])
    else:
        _write_tree(
            root,
            [f"data_{kind}/{name}" for name in TRAIN]
            + [f"val_{kind.split('_')[0]}/{name}" for name in VAL_365],
        )
    (root / "places365_train_standard.txt").write_text(_list(TRAIN, "/"))
    (root / "places365_val.txt").write_text(_list(VAL_365, labels=[2, 0, 1]))
    (root / "categories_places365.txt").write_text(
        "".join(f"/{name} {i}\n" for i, name in enumerate(CLASSES))
    )
    return root


def _labels(image_set):
    return {
        split: {item.name.decode(): item.label for item in items}
        for split, items in image_set.splits.items()
    }


@pytest.mark.parametrize("folder", ["", "trainvalsplit_places205"])
@pytest.mark.parametrize("tar", [True, False], ids=["tar", "tree"])
def test_places205(tmp_path, tar, folder):
    image_set = places_layout.list_images(_places205(tmp_path, tar, folder))
    assert (image_set.source, image_set.class_names) == (
        "places205",
        ["abbey", "airfield", "church/outdoor"],
    )
    assert _labels(image_set) == {
        "train": {name: CLASSES.index(name.rpartition("/")[0]) for name in TRAIN},
        "val": {name: CLASSES.index(name.rpartition("/")[0]) for name in VAL_205},
    }
    for item in image_set.splits["train"]:
        assert image_set.read(item.location).decode().removeprefix(PREFIX_205) == item.name.decode()


@pytest.mark.parametrize("kind", ["tar", "256_standard", "256", "large_standard", "large"])
def test_places365(tmp_path, kind):
    image_set = places_layout.list_images(_places365(tmp_path, kind))
    assert (image_set.source, image_set.class_names) == (
        "places365",
        ["abbey", "airfield", "church/outdoor"],
    )
    assert _labels(image_set)["train"] == {
        name: CLASSES.index(name.rpartition("/")[0]) for name in TRAIN
    }
    assert _labels(image_set)["val"] == dict(zip(VAL_365, [2, 0, 1], strict=True))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_lists_with_byte_order_marks(tmp_path, encoding):
    usual = places_layout.list_images(_places205(tmp_path))
    for path in tmp_path.rglob("*_places205.csv"):
        path.write_text(path.read_text(), encoding)
    marked = places_layout.list_images(tmp_path)
    assert marked.splits == usual.splits and marked.class_names == usual.class_names


def test_the_order_of_a_tar_does_not_matter(tmp_path):
    sets = [
        places_layout.list_images(_places205(tmp_path / name, name == "tar"))
        for name in ("tar", "tree")
    ]
    first, second = (
        {split: [(i.name, i.label) for i in items] for split, items in image_set.splits.items()}
        for image_set in sets
    )
    assert first == second


def test_differences_are_listed(tmp_path):
    _places205(tmp_path, tar=False)
    path = tmp_path / PREFIX_205
    (path / TRAIN[0]).unlink()
    (path / VAL_205[2]).unlink()
    (path / "a/abbey/extra.jpg").write_bytes(b"x")
    with pytest.raises(InputError) as error:
        places_layout.list_images(tmp_path, skip_unlisted=False)
    assert f"2 listed but missing: {TRAIN[0]}, {VAL_205[2]}" in str(error.value)
    assert (
        "1 there but not listed: data: vision/torralba/deeplearning/images256/a/abbey/extra.jpg"
        in str(error.value)
    )
    with pytest.raises(InputError, match="2 listed but missing") as error:
        places_layout.list_images(tmp_path, skip_unlisted=True)
    assert "extra" not in str(error.value)


def test_unlisted_images_may_be_left_out(tmp_path, capsys):
    _places205(tmp_path, tar=False)
    (tmp_path / PREFIX_205 / "a/abbey/extra.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match="--skip_unlisted"):
        places_layout.list_images(tmp_path)
    image_set = places_layout.list_images(tmp_path, skip_unlisted=True)
    assert {split: len(items) for split, items in image_set.splits.items()} == {
        "train": 6,
        "val": 3,
    }
    assert "leaving out 1 images" in capsys.readouterr().out


@pytest.mark.parametrize(
    "file, text, message",
    [
        ("train", "a/abbey/00000001.jpg\n", "line 1: expected `path label`"),
        ("train", "a/abbey/00000001.jpg one\n", "line 1: expected `path label`"),
        ("train", "<html>\n", "line 1: expected `path label`"),
        ("train", _list(TRAIN) + _list(TRAIN[:1]), "line 7: a/abbey/00000001.jpg is listed twice"),
        (
            "train",
            _list(TRAIN) + _list(VAL_205[:1]),
            r"val_places205.csv: line 1: .* listed twice \(before: in train\)",
        ),
        (
            "train",
            _list(TRAIN, labels=[0, 1, 1, 1, 2, 2]),
            "label 1 stands for both a/abbey and a/airfield",
        ),
        (
            "train",
            _list(TRAIN, labels=[1, 1, 0, 0, 2, 2]),
            "label 0 is a/abbey, in the list of training images it is a/airfield",
        ),
        (
            "train",
            _list(TRAIN, labels=[0, 0, 1, 1, 3, 3]),
            "label 3 is not there, in the list of training images it is c/church/outdoor",
        ),
        (
            "val",
            _list(VAL_205, labels=[0, 1, 3]),
            "labels without training images or an entry in categoryIndex_places205.csv: 3",
        ),
        (
            "classes",
            "/a/abbey 0\n/a/airfield 1\n/c/church/outdoor 2\n/z/zoo 4\n",
            "not numbered 0 to 3",
        ),
    ],
)
def test_malformed_lists_are_refused(tmp_path, file, text, message):
    _places205(tmp_path, folder="")
    names = dict(
        train="train_places205.csv", val="val_places205.csv", classes="categoryIndex_places205.csv"
    )
    (tmp_path / names[file]).write_text(text)
    with pytest.raises(InputError, match=message):
        places_layout.list_images(tmp_path)


def test_what_is_missing_is_said(tmp_path, capsys):
    with pytest.raises(
        InputError, match="holds no train_places205.csv or places365_train_standard.txt"
    ):
        places_layout.list_images(tmp_path)
    with pytest.raises(InputError, match="name the directory"):
        places_layout.list_images(tmp_path / "none")
    _places365(tmp_path, "tar")
    (tmp_path / "categories_places365.txt").unlink()
    (tmp_path / "val_256.tar").unlink()
    image_set = places_layout.list_images(tmp_path)
    assert list(image_set.splits) == ["train"] and len(image_set.class_names) == 3
    assert "no images for places365_val.txt" in capsys.readouterr().out
    with pytest.raises(InputError, match="no training images; expected imagesPlaces205_resize.tar"):
        places_layout.list_images(tmp_path, layout="places205")
    (tmp_path / "imagesPlaces205_resize.tar.gz").write_bytes(b"x")
    with pytest.raises(InputError, match="decompress imagesPlaces205_resize.tar.gz first"):
        places_layout.list_images(tmp_path, layout="places205")
    _places205(tmp_path)
    with pytest.raises(InputError, match="places205 and places365; say --layout"):
        places_layout.list_images(tmp_path)
    assert len(places_layout.list_images(tmp_path, layout="places205").splits["val"]) == 3


@pytest.mark.skipif(not PACK.is_dir(), reason="no ../shared/data/places-mini")
def test_the_pack_of_real_photos():
    image_set = places_layout.list_images(PACK)
    assert {split: len(items) for split, items in image_set.splits.items()} == {
        "train": 1000,
        "val": 300,
    }
    assert len(image_set.class_names) == 25 and "church/outdoor" in image_set.class_names
    for split, count in (("train", 40), ("val", 12)):
        assert set(
            collections.Counter(item.label for item in image_set.splits[split]).values()
        ) == {count}
    assert all(image_set.read(item.location)[:2] == b"\xff\xd8" for item in image_set.splits["val"])

"""Tars of samples, as WebDataset has them."""

import io
import json
import tarfile

import pytest
from foreign_records import jpeg

from ccssl_tf.runs.errors import InputError
from data_prep import image_sources

DEFAULTS = dict(labels="auto", val_fraction=0.0, classes=None, seed=0)


def _tar(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            data = data if isinstance(data, bytes) else data.encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def _content(image_set):
    return {
        split: [(item.name.decode(), item.label, image_set.read(item.location)) for item in items]
        for split, items in image_set.splits.items()
    }


def test_classes_beside_images(tmp_path, capsys):
    for name, numbers in (
        ("imagenet-train-000000.tar", (0, 1)),
        ("imagenet-train-000001.tar", (2,)),
        ("imagenet-val-000000.tar", (3,)),
    ):
        files = {}
        for n in numbers:
            files |= {f"{n:06}.jpg": jpeg(n), f"{n:06}.cls": f"{n % 2}\n", f"{n:06}.txt": "caption"}
        _tar(tmp_path / name, files)
    image_set = image_sources.list_images(tmp_path, **{**DEFAULTS, "val_fraction": 0.5})
    assert image_set.class_names == ["0", "1"]
    assert _content(image_set) == {
        "train": [
            ("imagenet-train-000000/000000.jpg", 0, jpeg(0)),
            ("imagenet-train-000000/000001.jpg", 1, jpeg(1)),
            ("imagenet-train-000001/000002.jpg", 0, jpeg(2)),
        ],
        "val": [("imagenet-val-000000/000003.jpg", 1, jpeg(3))],
    }
    assert "ignoring 4 files that are no images (.txt 4)" in capsys.readouterr().out
    path = tmp_path / "imagenet-val-000000.tar"
    alone = image_sources.list_images(path, **{**DEFAULTS, "classes": ["ant", "bee"]})
    assert alone.class_names == ["ant", "bee"]
    assert _content(alone) == {"val": [("000003.jpg", 1, jpeg(3))]}


def test_classes_in_json_and_several_pictures_of_a_sample(tmp_path, capsys):
    files = {}
    for n, label in enumerate(("dog", "cat")):
        files |= {
            f"a/{n}.png": jpeg(n),
            f"a/{n}.seg.png": jpeg(9),
            f"a/{n}.json": json.dumps(dict(label=label, width=5)),
        }
    _tar(tmp_path / "0.tar", files)
    _tar(tmp_path / "1.tar", {"5.jpg": jpeg(5), "5.json": json.dumps(dict(label="cat"))})
    image_set = image_sources.list_images(tmp_path, **DEFAULTS)
    assert image_set.class_names == ["cat", "dog"]
    assert _content(image_set) == {
        "train": [("0/a/0.png", 1, jpeg(0)), ("0/a/1.png", 0, jpeg(1)), ("1/5.jpg", 0, jpeg(5))]
    }
    assert "(.seg.png 2)" in capsys.readouterr().out


def test_without_classes_and_with_some(tmp_path):
    plain = {f"{n}.jpg": jpeg(n) for n in range(2)}
    _tar(tmp_path / "none/0.tar", plain)
    _tar(tmp_path / "none/1.tar", {"2.jpg": jpeg(2)})
    image_set = image_sources.list_images(tmp_path / "none", **DEFAULTS)
    assert image_set.class_names is None and len(image_set.splits["train"]) == 3
    _tar(tmp_path / "some/0.tar", plain | {"0.cls": "1"})
    _tar(tmp_path / "some/1.tar", {"2.jpg": jpeg(2), "2.json": "{"})
    with pytest.raises(
        InputError, match="2 faults: .*2.json: no JSON.*2 of 3 images of train have no class"
    ):
        image_sources.list_images(tmp_path / "some", **DEFAULTS)
    _tar(tmp_path / "empty/0.tar", {"a.txt": "x"})
    _tar(tmp_path / "empty/1.tar", {"b.txt": "x"})
    with pytest.raises(InputError, match="its tars hold no images"):
        image_sources.list_images(tmp_path / "empty", **DEFAULTS)


def test_a_split_without_classes_leaves_the_others_theirs(tmp_path, capsys):
    for split, files in (
        ("train", {"0.jpg": jpeg(0), "0.cls": "1", "1.jpg": jpeg(1), "1.cls": "0"}),
        ("test", {"0.jpg": jpeg(2)}),
    ):
        _tar(tmp_path / split / "00000.tar", files)
    image_set = image_sources.list_images(tmp_path, **DEFAULTS)
    assert image_set.class_names == ["0", "1"]
    assert {split: [item.label for item in items] for split, items in image_set.splits.items()} == {
        "test": [-1],
        "train": [1, 0],
    }
    assert "the images of test have no labels" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("texts", "classes", "names", "labels"),
    [
        (("2", "0"), None, ["0", "1", "2"], [2, 0]),
        (("bee", "ant"), ["ant", "bee"], ["ant", "bee"], [1, 0]),
        (("a bee", "an ant"), None, None, [-1, -1]),
        (("1", "an ant"), None, None, [-1, -1]),
    ],
)
def test_texts_are_classes_or_captions(tmp_path, capsys, texts, classes, names, labels):
    for n, text in enumerate(texts):
        _tar(tmp_path / f"train-{n}.tar", {f"{n}.jpg": jpeg(n), f"{n}.txt": text})
    image_set = image_sources.list_images(tmp_path, **{**DEFAULTS, "classes": classes})
    assert image_set.class_names == names
    assert [item.label for item in image_set.splits["train"]] == labels
    assert (".txt 2" in capsys.readouterr().out) == (names is None)


def test_one_tar_with_classes_in_json(tmp_path):
    files = {}
    for n, label in enumerate((3, 1)):
        files |= {f"{n}.image.jpg": jpeg(n), f"{n}.json": json.dumps(dict(label=label))}
    path = _tar(tmp_path / "photos.tar", files)
    image_set = image_sources.list_images(path, **DEFAULTS)
    assert image_set.class_names == ["0", "1", "2", "3"]
    assert [item.label for item in image_set.splits["train"]] == [3, 1]
    # Notes of other programs beside the images of class folders are no classes.
    files = {"ant/0.jpg": jpeg(0), "ant/0.json": '{"shapes": []}', "bee/1.jpg": jpeg(1)}
    image_set = image_sources.list_images(_tar(path, files | {"bee/1.json": "{"}), **DEFAULTS)
    assert image_set.class_names == ["ant", "bee"]


def test_samples_of_several_images_and_compressed_tars(tmp_path):
    _tar(tmp_path / "a/0.tar", {"0.left.png": jpeg(0), "0.right.png": jpeg(1), "0.cls": "0"})
    _tar(tmp_path / "a/1.tar", {"1.jpg": jpeg(1), "1.cls": "0"})
    with pytest.raises(InputError, match="0: several images: left.png, right.png"):
        image_sources.list_images(tmp_path / "a", **DEFAULTS)
    with tarfile.open(tmp_path / "photos.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "a", "a")
    with pytest.raises(InputError, match="photos.tar.gz: .*decompress it"):
        image_sources.list_images(tmp_path / "photos.tar.gz", **DEFAULTS)


def test_images_beside_a_tar_are_the_source(tmp_path, capsys):
    _tar(tmp_path / "backup.tar", {"9.jpg": jpeg(9), "9.cls": "0"})
    (tmp_path / "0.jpg").write_bytes(jpeg(0))
    image_set = image_sources.list_images(tmp_path, **DEFAULTS)
    assert [item.name for item in image_set.splits["train"]] == [b"0.jpg"]
    assert ".tar 1" in capsys.readouterr().out


def test_a_directory_with_one_tar_of_folders_means_the_tar(tmp_path):
    _tar(tmp_path / "photos.tar", {"ant/0.jpg": jpeg(0), "bee/1.jpg": jpeg(1)})
    image_set = image_sources.list_images(tmp_path, **DEFAULTS)
    assert image_set.class_names == ["ant", "bee"]
    assert _content(image_set) == {"train": [("ant/0.jpg", 0, jpeg(0)), ("bee/1.jpg", 1, jpeg(1))]}

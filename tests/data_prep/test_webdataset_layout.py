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
        InputError, match="2 faults: .*2.json: no JSON.*2 of 3 images have no class"
    ):
        image_sources.list_images(tmp_path / "some", **DEFAULTS)
    _tar(tmp_path / "empty/0.tar", {"a.txt": "x"})
    _tar(tmp_path / "empty/1.tar", {"b.txt": "x"})
    with pytest.raises(InputError, match="its tars hold no images"):
        image_sources.list_images(tmp_path / "empty", **DEFAULTS)


def test_a_directory_with_one_tar_of_folders_means_the_tar(tmp_path):
    _tar(tmp_path / "photos.tar", {"ant/0.jpg": jpeg(0), "bee/1.jpg": jpeg(1)})
    image_set = image_sources.list_images(tmp_path, **DEFAULTS)
    assert image_set.class_names == ["ant", "bee"]
    assert _content(image_set) == {"train": [("ant/0.jpg", 0, jpeg(0)), ("bee/1.jpg", 1, jpeg(1))]}

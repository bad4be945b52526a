import collections
import io
import pathlib
import tarfile

import pytest

from ccssl_tf.runs.errors import InputError
from data_prep import imagenet_layout

PACK = pathlib.Path(__file__).parents[2] / "../shared/data/imagenet64"
WNIDS = ["n00000001", "n00000002", "n00000003"]
VAL_CLASSES = [2, 0, 1, 1]  # Indices into WNIDS.
VAL_NAMES = [f"ILSVRC2012_val_{k:08d}.JPEG" for k in range(1, 5)]


def _tar_bytes(files, mode="w"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _train():
    return {
        wnid: {f"{wnid}_{i}.JPEG": f"{wnid} {i}".encode() for i in (10, 2, 33)}
        for wnid in reversed(WNIDS)
    }


def _write_tars(root):
    (root / imagenet_layout.TRAIN_TAR).write_bytes(
        _tar_bytes({f"{wnid}.tar": _tar_bytes(files) for wnid, files in _train().items()})
    )
    (root / imagenet_layout.VAL_TAR).write_bytes(
        _tar_bytes({name: name.encode() for name in VAL_NAMES})
    )
    return root


def _write_tree(root, val_folders):
    files = {
        f"train/{wnid}/{name}": data
        for wnid, images in _train().items()
        for name, data in images.items()
    }
    for name, label in zip(VAL_NAMES, VAL_CLASSES, strict=True):
        files[f"val/{WNIDS[label]}/{name}" if val_folders else f"val/{name}"] = name.encode()
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def _val_txt():
    return "".join(f"{name} {label}\n" for name, label in zip(VAL_NAMES, VAL_CLASSES, strict=True))


def _val_labels(image_set):
    return [item.label for item in sorted(image_set.splits["val"])]


def test_labels_follow_the_images(tmp_path):
    (_write_tars(tmp_path) / "val.txt").write_text(_val_txt())
    image_set = imagenet_layout.list_images(tmp_path)
    assert image_set.class_names == WNIDS
    assert _val_labels(image_set) == VAL_CLASSES
    for item in image_set.splits["train"]:
        assert (
            image_set.read(item.location).decode().split()[0]
            == WNIDS[item.label]
            == item.name.decode().split("_")[0]
        )


def test_tars_and_trees_give_the_same_records(tmp_path):
    sets = []
    for name in ("tars", "flat", "folders"):
        root = tmp_path / name
        root.mkdir()
        _write_tars(root) if name == "tars" else _write_tree(root, val_folders=name == "folders")
        if name != "folders":
            (root / "val.txt").write_text(_val_txt())
        image_set = imagenet_layout.list_images(root)
        sets.append(
            {
                split: [(i.name, i.label, image_set.read(i.location)) for i in items]
                for split, items in image_set.splits.items()
            }
        )
    assert sets[0] == sets[1] == sets[2]


def test_labels_are_optional(tmp_path):
    image_set = imagenet_layout.list_images(_write_tars(tmp_path))
    assert _val_labels(image_set) == [-1] * 4
    (tmp_path / imagenet_layout.VAL_TAR).unlink()
    (tmp_path / "words.txt").write_text("n00000001\tone, uno\nn00000003\tthree\n")
    image_set = imagenet_layout.list_images(tmp_path)
    assert list(image_set.splits) == ["train"]
    assert image_set.info == {"class_words": ["one, uno", "", "three"]}


def test_other_layouts_are_refused(tmp_path):
    with pytest.raises(InputError, match="holds neither"):
        imagenet_layout.list_images(tmp_path)
    (tmp_path / imagenet_layout.TRAIN_TAR).write_bytes(_tar_bytes({"a.JPEG": b"x"}))
    with pytest.raises(InputError, match="no class tars"):
        imagenet_layout.list_images(tmp_path)
    (tmp_path / imagenet_layout.TRAIN_TAR).write_bytes(
        _tar_bytes({"n00000001.tar": _tar_bytes({"n00000001_1.JPEG": b"x"})[:700]})
    )
    with pytest.raises(InputError, match="truncated"):
        imagenet_layout.list_images(tmp_path)


@pytest.mark.skipif(not PACK.is_dir(), reason="no ../shared/data/imagenet64")
def test_the_pack_of_real_photos():
    image_set = imagenet_layout.list_images(PACK)
    assert {split: len(items) for split, items in image_set.splits.items()} == {
        "train": 15000,
        "val": 3000,
    }
    assert len(image_set.class_names) == 60
    assert set(collections.Counter(item.label for item in image_set.splits["val"]).values()) == {50}
    synsets = imagenet_layout.list_images(PACK, "synsets")
    assert synsets.splits["val"] == image_set.splits["val"]

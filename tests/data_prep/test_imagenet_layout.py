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


def test_val_may_be_a_part_of_train(tmp_path):
    (_write_tars(tmp_path) / imagenet_layout.VAL_TAR).unlink()
    sets = [imagenet_layout.list_train_images(tmp_path, 1, seed) for seed in (0, 0, 1, 2, 3)]
    everything = {item.name for item in imagenet_layout.list_images(tmp_path).splits["train"]}
    for image_set in sets:
        val = image_set.splits["val"]
        assert [item.label for item in val] == list(range(len(WNIDS)))
        assert all(WNIDS[item.label].encode() in item.name for item in val)
        parts = [{item.name for item in image_set.splits[split]} for split in ("train", "val")]
        assert parts[0] | parts[1] == everything and not parts[0] & parts[1]
    drawn = [tuple(item.name for item in image_set.splits["val"]) for image_set in sets]
    assert drawn[0] == drawn[1] and len(set(drawn)) > 1
    with pytest.raises(InputError, match="--val_per_class=3 leaves no training image of"):
        imagenet_layout.list_train_images(tmp_path, 3, 0)


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


def _write_kaggle(root):
    _write_tree(root / "ILSVRC/Data/CLS-LOC", val_folders=False)
    rows = zip(VAL_NAMES, VAL_CLASSES, strict=True)
    (root / "LOC_val_solution.csv").write_text(
        "ImageId,PredictionString\n"
        + "".join(f"{name[:-5]},{WNIDS[label]} 1 2 3 4 \n" for name, label in rows)
    )


def _write_tiny(root):
    for wnid, images in _train().items():
        for name, data in images.items():
            (root / "train" / wnid / "images").mkdir(parents=True, exist_ok=True)
            (root / "train" / wnid / "images" / name).write_bytes(data)
    (root / "val/images").mkdir(parents=True)
    lines = []
    for name, label in zip(VAL_NAMES, VAL_CLASSES, strict=True):
        (root / "val/images" / name).write_bytes(name.encode())
        lines.append(f"{name}\t{WNIDS[label]}\t0\t0\t9\t9\n")
    (root / "val/val_annotations.txt").write_text("".join(lines))


def _write_validation(root):
    _write_tree(root, val_folders=True)
    (root / "val").rename(root / "Validation")
    (root / "train").rename(root / "TRAIN")


@pytest.mark.parametrize("write", [_write_kaggle, _write_tiny, _write_validation])
def test_other_layouts_of_the_same_images(tmp_path, write):
    (tmp_path / "usual").mkdir()
    (tmp_path / "other").mkdir()
    (_write_tars(tmp_path / "usual") / "val.txt").write_text(_val_txt())
    write(tmp_path / "other")
    usual, other = (imagenet_layout.list_images(tmp_path / name) for name in ("usual", "other"))
    assert other.class_names == usual.class_names
    for split, items in usual.splits.items():
        assert [(i.name, i.label, other.read(i.location)) for i in other.splits[split]] == [
            (i.name, i.label, usual.read(i.location)) for i in items
        ]


@pytest.mark.parametrize("packed", [False, True])
def test_names_that_end_with_the_class(tmp_path, packed):
    """As Hugging Face has them, in tars of many or unpacked into one folder."""
    train = {
        f"{name[:-5]}_{wnid}.JPEG": data
        for wnid, images in _train().items()
        for name, data in images.items()
    }
    val = {
        f"{name[:-5]}_{WNIDS[label]}.JPEG": name.encode()
        for name, label in zip(VAL_NAMES, VAL_CLASSES, strict=True)
    }
    if packed:
        names = sorted(train)
        for number, part in enumerate((names[:4], names[4:])):
            path = tmp_path / f"train_images_{number}.tar"
            path.write_bytes(_tar_bytes({name: train[name] for name in part}))
        (tmp_path / "val_images.tar").write_bytes(_tar_bytes(val))
    else:
        for folder, images in (("train", train), ("val", val)):
            (tmp_path / folder).mkdir()
            for name, data in images.items():
                (tmp_path / folder / name).write_bytes(data)
    image_set = imagenet_layout.list_images(tmp_path)
    assert image_set.class_names == WNIDS
    assert {item.name.decode(): item.label for item in image_set.splits["train"]} == {
        name: WNIDS.index(name.split("_")[0]) for name in train
    }
    assert [item.label for item in sorted(image_set.splits["val"])] == VAL_CLASSES
    if packed:
        (tmp_path / "train_images_2.tar.gz").write_bytes(b"x")
        with pytest.raises(InputError, match="train_images_2.tar.gz: is compressed; decompress"):
            imagenet_layout.list_images(tmp_path)


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

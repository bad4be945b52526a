import collections
import io
import pathlib
import tarfile

import numpy as np
import pytest
import scipy.io

from ccssl_tf.errors import InputError
from data_prep import imagenet_layout

PACK = pathlib.Path(__file__).parents[2] / "../shared/data/imagenet64"
WNIDS = ["n00000001", "n00000002", "n00000003"]
# ILSVRC2012_ID is not the sorted order: these are the ids of WNIDS.
DEVKIT_IDS = [2, 3, 1]
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
    return {wnid: {f"{wnid}_{i}.JPEG": f"{wnid} {i}".encode() for i in (10, 2, 33)} for wnid in reversed(WNIDS)}


def _write_tars(root):
    (root / imagenet_layout.TRAIN_TAR).write_bytes(_tar_bytes({f"{wnid}.tar": _tar_bytes(files) for wnid, files in _train().items()}))
    (root / imagenet_layout.VAL_TAR).write_bytes(_tar_bytes({name: name.encode() for name in VAL_NAMES}))
    return root


def _write_tree(root, val_folders):
    files = {f"train/{wnid}/{name}": data for wnid, images in _train().items() for name, data in images.items()}
    for name, label in zip(VAL_NAMES, VAL_CLASSES, strict=True):
        files[f"val/{WNIDS[label]}/{name}" if val_folders else f"val/{name}"] = name.encode()
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def _meta():
    # The kit lists inner nodes of the hierarchy too, with ids above the leaves'.
    rows = [(wnid_id, wnid, "words") for wnid_id, wnid in zip(DEVKIT_IDS, WNIDS, strict=True)] + [(4, "n00000009", "inner")]
    synsets = np.array(rows, [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O")]).reshape(-1, 1)
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"synsets": synsets})
    return buffer.getvalue()


def _ground_truth(ids):
    return "".join(f"{ids[label]}\n" for label in VAL_CLASSES)


def _val_txt(classes=VAL_CLASSES):
    return "".join(f"{name} {label}\n" for name, label in zip(VAL_NAMES, classes, strict=True))


def _csv(classes=VAL_CLASSES):
    return "filename,wnid\n" + "".join(f"{name},{WNIDS[label]}\n" for name, label in zip(VAL_NAMES, classes, strict=True))


TRUTH_FILE = "ILSVRC2012_validation_ground_truth.txt"


def _add_truth(root, kind):
    if kind == "packed_devkit":
        data = {
            "ILSVRC2012_devkit_t12/data/meta.mat": _meta(),
            f"ILSVRC2012_devkit_t12/data/{TRUTH_FILE}": _ground_truth(DEVKIT_IDS).encode(),
        }
        (root / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(_tar_bytes(data, "w:gz"))
    elif kind == "devkit":
        (root / "ILSVRC2012_devkit_t12" / "data").mkdir(parents=True)
        (root / "ILSVRC2012_devkit_t12" / "data" / "meta.mat").write_bytes(_meta())
        (root / "ILSVRC2012_devkit_t12" / "data" / TRUTH_FILE).write_text(_ground_truth(DEVKIT_IDS))
    elif kind == "meta":
        (root / "meta.mat").write_bytes(_meta())
        (root / TRUTH_FILE).write_text(_ground_truth(DEVKIT_IDS))
    elif kind == "val_txt":
        (root / "val.txt").write_text(_val_txt())
    elif kind == "csv":
        (root / "val_labels.csv").write_text(_csv())
    elif kind == "kaggle_csv":
        lines = [f"{name[:-5]},{WNIDS[label]} 1 2 3 4 \n" for name, label in zip(VAL_NAMES, VAL_CLASSES, strict=True)]
        (root / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + "".join(lines))
    elif kind == "synsets":
        (root / TRUTH_FILE).write_text(_ground_truth([1, 2, 3]))
        (root / "synsets.txt").write_text("\n".join(WNIDS))


def _val_labels(image_set):
    return [item.label for item in sorted(image_set.splits["val"])]


@pytest.mark.parametrize("kind", ["packed_devkit", "devkit", "meta", "val_txt", "csv", "kaggle_csv"])
def test_every_truth_gives_the_same_labels(tmp_path, kind):
    _add_truth(_write_tars(tmp_path), kind)
    image_set = imagenet_layout.list_images(tmp_path)
    assert image_set.class_names == WNIDS
    assert _val_labels(image_set) == VAL_CLASSES
    for item in image_set.splits["train"]:
        assert image_set.read(item.location).decode().split()[0] == WNIDS[item.label] == item.name.decode().split("_")[0]


def test_a_bare_ground_truth_is_refused_unless_said_what_it_is(tmp_path):
    _add_truth(_write_tars(tmp_path), "synsets")
    with pytest.raises(InputError, match="--ground_truth_ids=synsets"):
        imagenet_layout.list_images(tmp_path)
    assert _val_labels(imagenet_layout.list_images(tmp_path, "synsets")) == VAL_CLASSES


def test_tars_and_trees_give_the_same_records(tmp_path):
    sets = []
    for name in ("tars", "flat", "folders"):
        root = tmp_path / name
        root.mkdir()
        _write_tars(root) if name == "tars" else _write_tree(root, val_folders=name == "folders")
        if name != "folders":
            _add_truth(root, "val_txt")
        image_set = imagenet_layout.list_images(root)
        sets.append({split: [(i.name, i.label, image_set.read(i.location)) for i in items] for split, items in image_set.splits.items()})
    assert sets[0] == sets[1] == sets[2]


def test_truths_that_disagree_are_refused(tmp_path):
    _add_truth(_write_tars(tmp_path), "val_txt")
    (tmp_path / "val_labels.csv").write_text(_csv([2, 0, 1, 0]))
    with pytest.raises(InputError, match="val.txt and val_labels.csv disagree about 1 images, the first ILSVRC2012_val_00000004"):
        imagenet_layout.list_images(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("val.txt", _val_txt([2, 0, 1, 3]), "label 3, but there are 3 classes"),
        ("val.txt", _val_txt()[:-30], "val.txt"),
        ("val.txt", "".join(_val_txt().splitlines(keepends=True)[:3]), "no class for 1 images"),
        ("val_labels.csv", _csv().replace(WNIDS[1], "n00000008"), "without training images: n00000008"),
    ],
)
def test_truths_that_do_not_fit_are_refused(tmp_path, file, content, message):
    (_write_tars(tmp_path) / file).write_text(content)
    with pytest.raises(InputError, match=message):
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
    (tmp_path / imagenet_layout.TRAIN_TAR).write_bytes(_tar_bytes({"n00000001.tar": _tar_bytes({"n00000001_1.JPEG": b"x"})[:700]}))
    with pytest.raises(InputError, match="truncated"):
        imagenet_layout.list_images(tmp_path)


@pytest.mark.skipif(not PACK.is_dir(), reason="no ../shared/data/imagenet64")
def test_the_pack_of_real_photos():
    image_set = imagenet_layout.list_images(PACK)
    assert {split: len(items) for split, items in image_set.splits.items()} == {"train": 15000, "val": 3000}
    assert len(image_set.class_names) == 60
    assert set(collections.Counter(item.label for item in image_set.splits["val"]).values()) == {50}
    synsets = imagenet_layout.list_images(PACK, "synsets")
    assert synsets.splits["val"] == image_set.splits["val"]

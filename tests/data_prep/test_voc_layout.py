"""Splits, class states and masks follow the lists; lists that disagree with the files are refused
with the differences.
"""

import pathlib

import pytest
import scipy.io

from ccssl_tf.runs.errors import InputError
from data_prep import voc_layout
from data_prep.voc_annotator import read_image
from data_prep.voc_xml import CLASSES

PACKS = pathlib.Path(__file__).parents[2] / "../shared/data"


def _list(root, task="detection", **options):
    return voc_layout.list_images(root, year=2007, task=task, **options)


def _content(image_set):
    """What is converted, wherever it lies."""
    content = {}
    for split, items in image_set.splits.items():
        for item in items:
            rest = (
                (item.location.annotation, item.location.presence)
                if hasattr(item.location, "presence")
                else item.location.mask_name
            )
            content[split, item.name] = (item.label, item.size, read_image(item.location), rest)
    return content


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_tars_and_trees_hold_the_same(tmp_path, voc_devkit, task):
    tree, tars = voc_devkit.write_tree(tmp_path / "tree"), voc_devkit.write_tars(tmp_path / "tars")
    expected = _content(_list(tree, task))
    assert len(expected) == 10 and {split for split, _ in expected} == {
        "train",
        "val",
        "trainval",
        "test",
    }
    for source in (tree / "VOCdevkit", tree / "VOCdevkit" / "VOC2007", tars):
        assert _content(_list(source, task)) == expected
    one = _content(_list(tars / "VOCtrainval_06-Nov-2007.tar", task))
    assert one == {key: value for key, value in expected.items() if key[0] != "test"}


def test_annotations_and_the_three_states(tmp_path, voc_devkit):
    image_set = _list(voc_devkit.write_tree(tmp_path))
    assert image_set.class_names == CLASSES
    first, second = image_set.splits["train"]
    assert first.name == b"000001.jpg" and first.label == -1
    assert [
        (CLASSES[found.label], found.box, found.difficult, found.truncated)
        for found in first.location.annotation.objects
    ] == [
        ("dog", (1, 1, 23, 17), False, True),
        ("person", (8, 3, 8, 3), True, False),
    ]
    assert {
        name: state
        for name, state in zip(CLASSES, first.location.presence, strict=True)
        if state != -1
    } == {"dog": 1, "person": 0}
    assert second.location.presence[CLASSES.index("car")] == 1


def test_class_lists_are_believed_where_annotations_differ(tmp_path, voc_devkit, capsys):
    voc_devkit.files["ImageSets/Main/dog_test.txt"] = b"000005 -1\n000006  0\n"
    image_set = _list(voc_devkit.write_tree(tmp_path), splits=["test"])
    assert [item.location.presence[CLASSES.index("dog")] for item in image_set.splits["test"]] == [
        -1,
        0,
    ]
    assert "differ for 2 images" in capsys.readouterr().out


def test_only_the_splits_asked_for(tmp_path, voc_devkit):
    root = voc_devkit.write_tree(tmp_path)
    assert list(_list(root, splits=["test", "train"]).splits) == ["test", "train"]
    del voc_devkit.files["ImageSets/Main/test.txt"]
    with pytest.raises(InputError, match="no ImageSets/Main/test.txt"):
        _list(voc_devkit.write_tree(tmp_path / "without"), splits=["test"])


@pytest.mark.parametrize(
    ("task", "folder"), [("detection", "Annotations"), ("segmentation", "SegmentationClass")]
)
def test_test_images_without_annotations_are_left_out_not_some_of_them(
    tmp_path, voc_devkit, capsys, task, folder
):
    for image_id in ("000005", "000006"):
        voc_devkit.files = {
            name: data
            for name, data in voc_devkit.files.items()
            if not name.startswith(f"{folder}/{image_id}")
        }
        if image_id == "000005":
            with pytest.raises(
                InputError,
                match=r"the list test names 1 (annotations|masks) that are not there: 000005",
            ):
                _list(voc_devkit.write_tree(tmp_path / "some"), task)
    assert list(_list(voc_devkit.write_tree(tmp_path / "none"), task).splits) == [
        "train",
        "val",
        "trainval",
    ]
    assert "leaving out test" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("JPEGImages/000003.jpg", None, "the list val names 1 images that are not there: 000003"),
        ("Annotations/000001.xml", None, "names 1 annotations that are not there: 000001"),
        ("Annotations/000001.xml", b"<annotation>", "Annotations/000001.xml: not XML"),
        ("ImageSets/Main/dog_val.txt", None, "no ImageSets/Main/dog_val.txt"),
        (
            "ImageSets/Main/dog_val.txt",
            b"000003 1\n",
            "dog_val.txt: 1 images are in it or in val.txt, not in both: 000004",
        ),
        ("ImageSets/Main/dog_val.txt", b"000003 1\n000004 1\n000001 1\n", "not in both: 000001"),
        (
            "ImageSets/Main/dog_val.txt",
            b"000003 1\n000004 2\n",
            "dog_val.txt, line 2: '000004 2': expected",
        ),
        ("ImageSets/Main/dog_val.txt", b"000003 1\n000003 1\n", "line 2: '000003 1': comes twice"),
        ("ImageSets/Main/val.txt", b"", "val.txt: names no images"),
        ("ImageSets/Main/val.txt", b"000003\n000003\n", "val.txt: names 000003 twice"),
        ("ImageSets/Main/val.txt", b"../../000003\n000004\n", "not in both: ../../000003"),
        ("ImageSets/Main/test.txt", b"000001\n", "1 images are in train and in test: 000001"),
    ],
)
def test_lists_that_disagree_with_the_files(tmp_path, voc_devkit, name, content, said):
    voc_devkit.files[name] = content
    voc_devkit.files = {name: data for name, data in voc_devkit.files.items() if data is not None}
    with pytest.raises(InputError) as caught:
        _list(voc_devkit.write_tree(tmp_path))
    assert said in str(caught.value) and str(tmp_path) in str(caught.value)


def test_no_devkit_and_another_year(tmp_path, voc_devkit):
    with pytest.raises(InputError, match="holds no VOC2007/ImageSets"):
        _list(tmp_path)
    root = voc_devkit.write_tree(tmp_path)
    for source in (root, root / "VOCdevkit" / "VOC2007"):
        with pytest.raises(InputError, match="holds no VOC2012/ImageSets"):
            voc_layout.list_images(source, year=2012, task="detection")


def test_two_tars_with_different_files_of_one_name(tmp_path, voc_devkit):
    root = voc_devkit.write_tars(tmp_path / "tars")
    (root / "copy.tar").write_bytes((root / "VOCtest_06-Nov-2007.tar").read_bytes())
    assert len(_list(root).splits["test"]) == 2
    voc_devkit.files["Annotations/000005.xml"] = voc_devkit.files["Annotations/000005.xml"].replace(
        b">1<", b">2<"
    )
    (root / "copy.tar").write_bytes(
        (voc_devkit.write_tars(tmp_path / "other") / "VOCtest_06-Nov-2007.tar").read_bytes()
    )
    with pytest.raises(InputError, match=r"two different files .*Annotations/000005.xml"):
        _list(root)


def test_masks_of_sbd_become_train_and_leave_val(tmp_path, voc_devkit, capsys):
    root, sbd = voc_devkit.write_tree(tmp_path / "voc"), tmp_path / "benchmark" / "dataset"
    (sbd / "cls").mkdir(parents=True)
    for image_id in ("000001", "000003"):
        scipy.io.savemat(
            sbd / "cls" / f"{image_id}.mat", {"GTcls": {"Segmentation": voc_devkit.mask_pixels(7)}}
        )
    (sbd / "train.txt").write_text("000001\n000003\n")
    image_set = _list(root, "segmentation", sbd=sbd.parent)
    masks = {
        split: [item.location.mask_name for item in items]
        for split, items in image_set.splits.items()
    }
    assert masks == {"train": ["000001.mat", "000003.mat"], "val": ["000004.png"]}
    assert "2 train masks; 1 of them are in VOC's val" in capsys.readouterr().out
    (sbd / "train.txt").write_text("000001\n000002\n")
    with pytest.raises(InputError, match="the list train names 1 masks that are not there: 000002"):
        _list(root, "segmentation", sbd=sbd)
    (sbd / "train.txt").write_text("000003\n000004\n")
    with pytest.raises(InputError, match="nothing is left to evaluate on"):
        _list(root, "segmentation", sbd=sbd)
    with pytest.raises(InputError, match="--sbd="):
        _list(root, "segmentation", sbd=tmp_path)


def test_another_list_of_val(tmp_path, voc_devkit):
    root, val = voc_devkit.write_tree(tmp_path / "voc"), tmp_path / "seg11valid.txt"
    val.write_text("000004\n")
    splits = _list(root, "segmentation", val_list=val).splits
    assert [item.name for item in splits["val"]] == [b"000004.jpg"] and len(splits["train"]) == 2
    val.write_text("000004\n000001\n")
    with pytest.raises(InputError, match="1 images are in train and in val: 000001"):
        _list(root, "segmentation", val_list=val)


@pytest.mark.skipif(not PACKS.is_dir(), reason="the real photos are not here")
def test_real_photos():
    counts = {split: len(items) for split, items in _list(PACKS / "voc2007").splits.items()}
    assert counts == dict(train=61, val=73, trainval=134, test=116)
    counts = {
        split: len(items)
        for split, items in _list(PACKS / "voc2007", "segmentation").splits.items()
    }
    assert counts == dict(train=25, val=27, trainval=52, test=51)
    image_set = voc_layout.list_images(PACKS / "voc2012seg", year=2012, task="segmentation")
    assert {split: len(items) for split, items in image_set.splits.items()} == dict(
        train=70, val=46, trainval=116
    )

"""Splits, class states and masks follow the lists; lists that disagree with the files are refused
with the differences.
"""

import io
import pathlib
import re

import numpy as np
import pytest
import scipy.io
from PIL import Image

from ccssl_tf.runs.errors import InputError
from data_prep import voc_layout
from data_prep.decoding import ConvertedImage
from data_prep.object_annotator import ObjectLocation, presence_of, read_image
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
                item.location[1:]
                if isinstance(item.location, ObjectLocation)
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
    assert [(CLASSES[found.label], *found[1:]) for found in first.location.objects] == [
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


def _own(devkit, **names):
    """Renames classes of the annotations and removes the class lists."""
    for path, data in devkit.files.items():
        for name, other in names.items():
            if path.startswith("Annotations/"):
                data = data.replace(f">{name}<".encode(), f">{other}<".encode())
        devkit.files[path] = data
    devkit.files = {
        path: data
        for path, data in devkit.files.items()
        if not any(path.startswith(f"ImageSets/Main/{name}_") for name in CLASSES)
    }
    return devkit


def _objects_of(image_set):
    """Id -> (class, box) of every object, from what the records will hold."""
    return {
        item.name.decode()[:6]: [
            (image_set.class_names[thing.label], thing.box) for thing in item.location.objects
        ]
        for items in image_set.splits.values()
        for item in items
    }


def _objects_by_another_route(devkit):
    """The same, read with regular expressions."""
    found = {}
    for path, data in devkit.files.items():
        if path.startswith("Annotations/"):
            text = re.sub("<part>.*?</part>", "", data.decode())
            found[path[-10:-4]] = [
                (
                    re.search("<name>(.*?)<", thing)[1],
                    tuple(
                        int(re.search(f"<{corner}>(.*?)<", thing)[1])
                        for corner in ("xmin", "ymin", "xmax", "ymax")
                    ),
                )
                for thing in re.findall("<object>.*?</object>", text)
            ]
    return found


def test_without_class_lists_the_annotations_tell_the_states(tmp_path, voc_devkit, capsys):
    with_lists = _list(voc_devkit.write_tree(tmp_path / "with"))
    without = _list(_own(voc_devkit).write_tree(tmp_path / "without"))
    for split, items in with_lists.splits.items():
        for item, other in zip(items, without.splits[split], strict=True):
            assert presence_of(other.location.objects, 20) == item.location.presence
            assert other.location.presence is None
    assert "no lists of these classes for train, val, trainval, test" in capsys.readouterr().out


def test_own_classes(tmp_path, voc_devkit, capsys):
    devkit = _own(voc_devkit, dog="helmet", car="vest", tvmonitor="gloves", aeroplane="boots")
    image_set = _list(devkit.write_tree(tmp_path))
    names = ["boots", "gloves", "helmet", "person", "vest"]
    assert image_set.class_names == names
    assert f"its annotations name 5 classes, numbered in this order: {', '.join(names)}" in (
        capsys.readouterr().out
    )
    assert _objects_of(image_set) == _objects_by_another_route(devkit)
    first = image_set.splits["train"][0].location
    assert first.presence is None
    assert presence_of(first.objects, 5) == (-1, -1, 1, 0, -1)  # The person is difficult.
    given = ["vest", "person", "helmet", "gloves", "boots", "goggles"]
    image_set = _list(tmp_path, classes=given)
    assert image_set.class_names == given and _objects_of(image_set) == (
        _objects_by_another_route(devkit)
    )
    with pytest.raises(InputError, match="2 faults: unknown class 'boots' of 1 objects.*'gloves'"):
        _list(tmp_path, classes=["helmet", "vest", "person"])


def test_a_slip_among_classes_that_have_lists_is_told(tmp_path, voc_devkit):
    path = "Annotations/000003.xml"
    voc_devkit.files[path] = voc_devkit.files[path].replace(b"tvmonitor", b"tvmonitr")
    with pytest.raises(InputError, match="unknown class 'tvmonitr' of 1 objects; the class lists"):
        _list(voc_devkit.write_tree(tmp_path))


@pytest.mark.parametrize("suffix", [".JPG", ".jpeg", ".png", ".JPEG"])
def test_images_of_any_suffix(tmp_path, voc_devkit, suffix):
    voc_devkit.files = {
        path.replace(".jpg", suffix): data for path, data in voc_devkit.files.items()
    }
    image_set = _list(voc_devkit.write_tree(tmp_path))
    assert [item.name for item in image_set.splits["train"]] == [
        f"{image_id}{suffix}".encode() for image_id in ("000001", "000002")
    ]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["", ".jpg"])
def test_lists_of_any_editor(tmp_path, voc_devkit, encoding, end):
    expected = _content(_list(voc_devkit.write_tree(tmp_path / "usual")))
    for path, data in voc_devkit.files.items():
        if path.startswith("ImageSets/"):
            text = re.sub(r"(?m)^(\d{6})", rf"\1{end}", data.decode())
            voc_devkit.files[path] = text.replace("\n", "\r\n").encode(encoding)
    assert _content(_list(voc_devkit.write_tree(tmp_path / "other"))) == expected


def test_all_faults_are_told(tmp_path, voc_devkit):
    bad = voc_devkit.annotation([("dog", (1, 1, 90, 17), 0, 0)])
    for number in (1, 3, 4):
        voc_devkit.files[f"Annotations/00000{number}.xml"] = bad
    del voc_devkit.files["JPEGImages/000005.jpg"], voc_devkit.files["Annotations/000006.xml"]
    with pytest.raises(InputError) as caught:
        _list(voc_devkit.write_tree(tmp_path))
    text = str(caught.value)
    assert "5 faults" in text and text.count("--clip_boxes cuts it") == 3
    assert "the list test names 1 images that are not there: 000005" in text
    assert "the list test names 1 annotations that are not there: 000006" in text
    with pytest.raises(InputError, match="2 faults"):
        _list(tmp_path, clip_boxes=True)


def test_a_tree_without_the_devkits_folder(tmp_path, voc_devkit, capsys):
    """As CVAT exports it; its images without split are in `default`."""
    _own(voc_devkit)
    expected = _content(_list(voc_devkit.write_tree(tmp_path / "usual"), splits=["train"]))
    lists = {path for path in voc_devkit.files if path.startswith("ImageSets/")}
    train = voc_devkit.files["ImageSets/Main/train.txt"]
    voc_devkit.files = {p: data for p, data in voc_devkit.files.items() if p not in lists}
    voc_devkit.files["ImageSets/Main/default.txt"] = train
    root = voc_devkit.write_tree(tmp_path / "other") / "VOCdevkit/VOC2007"
    root = root.rename(tmp_path / "export")
    assert _content(_list(root)) == expected
    assert "ImageSets/Main/default.txt are taken for train" in capsys.readouterr().out


@pytest.mark.parametrize("folders", [("train", "valid", "test"), ("Training", "val", "Testing")])
@pytest.mark.parametrize("beside", [True, False])
def test_images_and_annotations_in_folders_of_splits(tmp_path, voc_devkit, folders, beside):
    """As Roboflow and LabelImg write them: no lists; beside each other, or in folders of both."""
    names = dict(zip(("train", "val", "test"), folders, strict=True))
    for image_id, split, _ in voc_devkit.PICTURES:
        for kind, path in (
            ("images", f"JPEGImages/{image_id}.jpg"),
            ("labels", f"Annotations/{image_id}.xml"),
        ):
            place = tmp_path / names[split] / ("" if beside else kind) / path.split("/")[1]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(voc_devkit.files[path])
    image_set = _list(tmp_path)
    assert image_set.class_names == CLASSES
    found = {
        item.name.decode()[-10:-4]: [
            (image_set.class_names[thing.label], thing.box) for thing in item.location.objects
        ]
        for items in image_set.splits.values()
        for item in items
    }
    assert found == _objects_by_another_route(voc_devkit)
    assert {
        split: [item.name.decode()[-10:-4] for item in items]
        for split, items in image_set.splits.items()
    } == {
        split: [image_id for image_id, its_split, _ in voc_devkit.PICTURES if its_split == split]
        for split in names
    }


def test_masks_by_their_colours(tmp_path, voc_devkit, capsys):
    """A palette in another order, colours without a palette, and CVAT's own colours."""
    pixels = voc_devkit.mask_pixels(1)
    palette = np.reshape(voc_devkit.palette(), [256, 3]).astype(np.uint8)
    order = np.random.default_rng(0).permutation(22)
    values = np.array([*range(21), 255])
    lookup = np.zeros(256, np.uint8)
    lookup[values[order]] = np.arange(22)
    image = Image.fromarray(lookup[pixels], "P")
    image.putpalette(palette[values[order]].ravel().tolist())
    voc_devkit.files["SegmentationClass/000001.png"] = voc_devkit.encoded(image, "PNG")
    voc_devkit.files["SegmentationClass/000002.png"] = voc_devkit.encoded(
        palette[voc_devkit.mask_pixels(2)], "PNG"
    )
    image_set = _list(voc_devkit.write_tree(tmp_path), "segmentation", splits=["train"])
    assert "(2 of the first masks)" in capsys.readouterr().out
    width, height = voc_devkit.SIZE
    photo = ConvertedImage(b"", height, width, ())
    for number, item in enumerate(image_set.splits["train"], 1):
        features = image_set.annotator.features(item.location, photo)
        with Image.open(io.BytesIO(features["image/segmentation/class/encoded"][0])) as mask:
            np.testing.assert_array_equal(mask, voc_devkit.mask_pixels(number))


def test_masks_of_cvats_label_map(tmp_path, voc_devkit):
    colors = {"background": (0, 0, 0), "helmet": (250, 50, 83), "vest": (51, 221, 255)}
    lines = "".join(f"{name}:{r},{g},{b}::\n" for name, (r, g, b) in colors.items())
    pixels = np.random.default_rng(0).integers(0, 3, voc_devkit.SIZE[::-1])
    table = np.array(list(colors.values()), np.uint8)
    for path in voc_devkit.files:
        if path.startswith("SegmentationClass/"):
            voc_devkit.files[path] = voc_devkit.encoded(table[pixels], "PNG")
    voc_devkit.files["labelmap.txt"] = f"# label:color_rgb:parts:actions\n{lines}".encode()
    image_set = _list(voc_devkit.write_tree(tmp_path), "segmentation")
    assert image_set.class_names == ["helmet", "vest"]
    width, height = voc_devkit.SIZE
    features = image_set.annotator.features(
        image_set.splits["train"][0].location, ConvertedImage(b"", height, width, ())
    )
    with Image.open(io.BytesIO(features["image/segmentation/class/encoded"][0])) as mask:
        np.testing.assert_array_equal(mask, pixels)


def test_palettes_that_say_nothing_are_refused_or_trusted(tmp_path, voc_devkit):
    image = Image.frombytes("P", voc_devkit.SIZE, voc_devkit.mask_pixels(1).tobytes())
    image.putpalette(bytes(range(255, -1, -1)) * 3)
    voc_devkit.files["SegmentationClass/000001.png"] = voc_devkit.encoded(image, "PNG")
    root = voc_devkit.write_tree(tmp_path)
    with pytest.raises(
        InputError, match="000001.png: its palette gives index .*trust_mask_indices"
    ):
        _list(root, "segmentation", splits=["train"])
    image_set = _list(root, "segmentation", splits=["train"], trust_mask_indices=True)
    width, height = voc_devkit.SIZE
    features = image_set.annotator.features(
        image_set.splits["train"][0].location, ConvertedImage(b"", height, width, ())
    )
    with Image.open(io.BytesIO(features["image/segmentation/class/encoded"][0])) as mask:
        np.testing.assert_array_equal(mask, voc_devkit.mask_pixels(1))


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

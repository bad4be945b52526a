"""TFRecords as other projects write them, read back to what was put in."""

import gzip

import numpy as np
import pytest
import tensorflow as tf
from foreign_records import jpeg, write

from ccssl_tf.runs.errors import InputError
from data_prep import tfrecord_layout
from data_prep.decoding import ConvertedImage


def _list(*sources, **options):
    return tfrecord_layout.list_images(tfrecord_layout.find_files(sources), **options)


def _labels(image_set):
    return {
        split: [(item.name.decode(), item.label) for item in items]
        for split, items in image_set.splits.items()
    }


def test_imagenets_usual_converters(tmp_path, capsys):
    """Labels count from 1, WordNet ids stand beside them."""
    rows = [
        {
            "image/encoded": jpeg(number),
            "image/class/label": 1 + number % 3,
            "image/class/synset": b"n0000000%d" % (number % 3),
            "image/filename": b"%d.JPEG" % number,
            "image/format": b"JPEG",
            "image/height": 24,
        }
        for number in range(7)
    ]
    write(tmp_path / "train-00000-of-00002", rows[:3])
    write(tmp_path / "train-00001-of-00002", rows[3:5])
    write(tmp_path / "validation-00000-of-00001", rows[5:])
    image_set = _list(tmp_path)
    assert image_set.class_names == ["n00000000", "n00000001", "n00000002"]
    assert _labels(image_set) == {
        "train": [(f"{number}.JPEG", number % 3) for number in range(5)],
        "val": [("5.JPEG", 2), ("6.JPEG", 0)],
    }
    for items in image_set.splits.values():
        for item in items:
            data = image_set.read(item.location)
            assert data == jpeg(int(item.name.decode().split(".")[0])) and len(data) == item.size
    output = capsys.readouterr().out
    assert "image: image/encoded; label: image/class/label; its name: image/class/synset" in output
    assert "the labels 1 to 3 become 0 to 2" in output


@pytest.mark.parametrize(
    ("rows", "names", "labels"),
    [
        ([dict(image=b"", label=2), dict(image=b"", label=-1)], ["2"], [0, -1]),
        ([dict(image_raw=b"", label=0), dict(image_raw=b"", label=4)], ["0", "4"], [0, 1]),
        ([dict(img=b"", label=b"dog"), dict(img=b"", label=b"cat")], ["cat", "dog"], [1, 0]),
        ([{"image/encoded": b"", "x": 1.0}], None, [-1]),
        ([dict(photo=b"", category=0)], ["0"], [0]),
        ([{"image/encoded": b"", "image/class/label": -1}], None, [-1]),
    ],
)
def test_keys_of_other_projects(tmp_path, rows, names, labels):
    rows = [{k: jpeg(n) if v == b"" else v for k, v in row.items()} for n, row in enumerate(rows)]
    image_set = _list(write(tmp_path / "data.tfrecord", rows))
    assert image_set.class_names == names
    assert [item.label for item in image_set.splits["train"]] == labels


def test_keys_can_be_given(tmp_path):
    row = dict(left=jpeg(0), right=jpeg(1), coarse=3, fine=b"x", fruit=b"pear")
    path = write(tmp_path / "train.record", [row])
    with pytest.raises(InputError, match="choose one of left, right by --image_key"):
        _list(path)
    image_set = _list(path, image_key="right", label_key="fruit")
    assert image_set.class_names == ["pear"]
    assert image_set.read(image_set.splits["train"][0].location) == jpeg(1)
    with pytest.raises(InputError, match="--label_key=z: the records have coarse, fine, fruit, le"):
        _list(path, image_key="right", label_key="z")
    with pytest.raises(InputError, match="--image_key=z: the records have"):
        _list(path, image_key="z")


def test_raw_pixels_and_other_records_are_named(tmp_path):
    row = dict(image_raw=bytes(28 * 28), label=1)
    with pytest.raises(InputError, match=r"image_raw \(784 bytes\) may be raw pixels"):
        _list(write(tmp_path / "train.tfrecords", [row]))
    path = tmp_path / "other.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(b"\xff\xff no example")
    with pytest.raises(InputError, match="are no tf.train.Example"):
        _list(path)
    path.write_bytes(gzip.compress(b"anything at all"))
    with pytest.raises(InputError, match="compressed with gzip"):
        _list(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="holds no records"):
        _list(path)
    with pytest.raises(InputError, match="holds no TFRecord files"):
        (tmp_path / "empty").mkdir()
        _list(tmp_path / "empty")


def test_splits_by_the_names_of_files_and_folders(tmp_path, capsys):
    rows = [dict(image=jpeg(), label=0)]
    for name in ("a_train.record-00000-of-00001", "small-validation.tfrecord", "Test/0.tfrecord"):
        write(tmp_path / "told" / name, rows)
    assert list(tfrecord_layout.find_files([tmp_path / "told"])) == ["test", "train", "val"]
    untold = write(tmp_path / "data.tfrecord", rows)
    assert list(tfrecord_layout.find_files([untold])) == ["train"]
    assert "tells no split by its name" in capsys.readouterr().out
    with pytest.raises(InputError, match="1 files tell no split by their names, others do: .*data"):
        tfrecord_layout.find_files([untold, tmp_path / "told"])


def test_files_are_found_by_name_or_content(tmp_path, capsys):
    rows = [dict(image=jpeg(), label=0)]
    for name in ("train/00-16x16-1.tfrec", "val/photos", "test/a.bin"):
        write(tmp_path / name, rows)
    (tmp_path / "train" / "notes.md").write_text("x")
    found = tfrecord_layout.find_files([tmp_path])
    assert {split: [path.name for path in paths] for split, paths in found.items()} == {
        "train": ["00-16x16-1.tfrec"],
        "val": ["photos"],
        "test": ["a.bin"],
    }
    assert "ignoring 1 files without records (.md 1)" in capsys.readouterr().out


def test_a_split_without_labels_leaves_the_others_theirs(tmp_path, capsys):
    write(tmp_path / "test.tfrec", [dict(image=jpeg(n), id=b"%d" % n) for n in range(2)])
    rows = [{"image": jpeg(n), "class": n, "id": b"%d" % n} for n in range(3)]
    write(tmp_path / "train.tfrec", rows)
    image_set = _list(tmp_path)
    assert image_set.class_names == ["0", "1", "2"]
    assert _labels(image_set) == {
        "test": [("0", -1), ("1", -1)],
        "train": [("0", 0), ("1", 1), ("2", 2)],
    }
    output = capsys.readouterr().out
    assert "the images of test have no labels" in output
    del rows[1]["class"]
    write(tmp_path / "train.tfrec", rows)
    with pytest.raises(InputError, match=r"train.tfrec: record at byte \d+: no class, others have"):
        _list(tmp_path)


def test_a_lost_file_is_told(tmp_path):
    write(tmp_path / "train-00001-of-00003", [dict(image=jpeg(), label=0)])
    with pytest.raises(InputError, match="2 faults: .*train-00000-of-00003 is missing; .*00002-of"):
        tfrecord_layout.find_files([tmp_path])


def test_names_that_lie_beside_the_records(tmp_path, capsys):
    """As tensorflow-datasets leaves them, where its description is lost."""
    rows = [dict(image=jpeg(n), label=1 + n) for n in range(2)]
    write(tmp_path / "small-train.tfrecord-00000-of-00001", rows)
    (tmp_path / "label.labels.txt").write_text("ant\nbee\ncow\n")
    image_set = _list(tmp_path)
    assert image_set.class_names == ["ant", "bee", "cow"]
    assert [item.label for item in image_set.splits["train"]] == [1, 2]
    assert "label.labels.txt: names the classes" in capsys.readouterr().out


def test_all_faults_of_records_are_told(tmp_path):
    rows = [dict(image=jpeg(n), label=n % 2, text=b"same" if n else b"x") for n in range(6)]
    rows[1]["label"] = [1, 2]
    del rows[2]["image"]
    path = write(tmp_path / "train.tfrecord", rows)
    data = bytearray(path.read_bytes())
    data[data.index(jpeg(4)) + 30] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        _list(path)
    text = str(caught.value)
    assert "3 faults" in text or "4 faults" in text
    assert (
        "no single number or name in label" in text and "0 values of image instead of one" in text
    )
    assert "its checksum" in text


def test_a_label_with_two_names_is_told(tmp_path):
    rows = [dict(image=jpeg(n), label=0, text=b"cat" if n else b"dog") for n in range(2)]
    with pytest.raises(InputError, match="label 0 has several names: dog, cat"):
        _list(write(tmp_path / "train.tfrecord", rows))


def test_label_maps(tmp_path):
    rows = [dict(image=jpeg(n), label=1 + n) for n in range(2)]
    path = write(tmp_path / "train.tfrecord", rows)
    (tmp_path / "map.pbtxt").write_text(
        "item {\n  id: 2\n  name: 'dog'\n}\nitem { name: \"/m/01\" id: 1 display_name: 'cat' }\n"
        "item { id: 3 name: 'cow' }"
    )
    image_set = _list(path, label_map=str(tmp_path / "map.pbtxt"))
    assert image_set.class_names == ["cat", "dog", "cow"]
    assert [item.label for item in image_set.splits["train"]] == [0, 1]
    (tmp_path / "names.txt").write_text("ant\nbee\n")
    assert _list(path, label_map=str(tmp_path / "names.txt")).class_names == ["ant", "bee"]
    (tmp_path / "names.txt").write_text("ant\n")
    with pytest.raises(InputError, match="names no class for the numbers 2"):
        _list(path, label_map=str(tmp_path / "names.txt"))
    (tmp_path / "map.pbtxt").write_text("nothing")
    with pytest.raises(InputError, match="expected lines `item"):
        _list(path, label_map=str(tmp_path / "map.pbtxt"))


def _with_boxes(boxes, labels, **more):
    """A record of the Object Detection API over a picture of 32x24; boxes in pixels' edges."""
    columns = np.array(boxes, float).reshape(-1, 4) / [32, 24, 32, 24]
    row = {
        f"image/object/bbox/{name}": [float(np.float32(value)) for value in column]
        for name, column in zip(("xmin", "ymin", "xmax", "ymax"), columns.T, strict=True)
    }
    names = {1: b"cat", 3: b"dog"}
    return row | {
        "image/encoded": jpeg(),
        "image/filename": b"a.jpg",
        "image/class/label": 7,
        "image/object/class/label": list(labels),
        "image/object/class/text": [names[label] for label in labels] or [b"none"],
        **more,
    }


def test_boxes_of_the_object_detection_api(tmp_path):
    difficult = {"image/object/difficult": [0, 1], "image/object/truncated": [1, 0]}
    rows = [
        _with_boxes([(0, 0, 32, 24), (4, 6, 16, 12)], [3, 1], **difficult),
        _with_boxes([(4.4, 6.6, 5.4, 7.4)], [1]),
        _with_boxes([(-0.9, 0, 32.9, 24)], [3]),
    ]
    image_set = _list(write(tmp_path / "train.record", rows))
    assert image_set.class_names == ["cat", "dog"]
    found = [item.location.objects for item in image_set.splits["train"]]
    # The first pixel begins at 0: edges 4..16 are pixels 5..16, counted from 1.
    assert [tuple(one) for one in found[0]] == [
        (1, (1, 1, 32, 24), False, True),
        (0, (5, 7, 16, 12), True, False),
    ]
    assert found[1][0].box == (5, 8, 5, 8)
    assert found[2][0].box == (1, 1, 32, 24)
    item = image_set.splits["train"][0]
    features = image_set.annotator.features(item.location, ConvertedImage(b"", 24, 32, ()))
    for name, values in dict(xmin=(0, 4), ymin=(0, 6), xmax=(32, 16), ymax=(24, 12)).items():
        side = 32 if name[0] == "x" else 24
        np.testing.assert_allclose(
            features[f"image/object/bbox/{name}"], np.array(values) / side, atol=1e-6
        )
    assert features["image/class/presence"].tolist() == [0, 1]
    assert image_set.read(item.location) == jpeg()


def test_boxes_that_reach_out_are_told_or_clipped(tmp_path):
    rows = [
        _with_boxes([(-5, 0, 40, 24), (40, 0, 50, 9)], [3, 1]),
        _with_boxes([(9, 0, 3, 24)], [1]),
        _with_boxes([(0, 0, float("nan"), 24)], [1]),
        _with_boxes([(0, 0, 9, 9)], [1], **{"image/object/class/label": [1, 3]}),
    ]
    path = write(tmp_path / "train.record", rows)
    with pytest.raises(InputError) as caught:
        _list(path)
    text = str(caught.value)
    assert "5 faults" in text and text.count("--clip_boxes cuts it") == 2
    assert "is inverted" in text and "labels and corners differ in number: 2, 1, 1, 1, 1" in text
    write(path, rows[:1])
    image_set = _list(path, clip_boxes=True)
    (one,) = image_set.splits["train"][0].location.objects
    assert (one.box, image_set.class_names[one.label]) == ((1, 1, 32, 24), "dog")


def test_boxes_without_extent_and_objects_without_class(tmp_path):
    row = _with_boxes([(5, 5, 5, 9), (1, 1, 4, 4)], [1, 3])
    path = write(tmp_path / "train.record", [row])
    with pytest.raises(InputError, match="has no width or no height"):
        _list(path)
    image_set = _list(path, clip_boxes=True)
    assert [one.box for one in image_set.splits["train"][0].location.objects] == [(2, 2, 4, 4)]
    row["image/object/class/label"] = [1, -1]
    row["image/object/bbox/xmax"][0] = 0.5
    write(path, [row])
    with pytest.raises(InputError, match="an object with the label -1"):
        _list(path)


def test_boxes_may_be_left_out(tmp_path, capsys):
    path = write(tmp_path / "train.record", [_with_boxes([(0, 0, 9, 9)], [1])])
    image_set = _list(path, with_objects=False)
    assert image_set.class_names == ["7"] and image_set.annotator is None
    assert "its boxes are not taken" in capsys.readouterr().out
    plain = write(tmp_path / "plain.record", [dict(image=jpeg(), label=0)])
    with pytest.raises(InputError, match="its records hold no image/object/bbox"):
        _list(plain, with_objects=True)

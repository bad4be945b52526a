"""Records that are well-framed but wrong."""

import io

import numpy as np
import pytest
from conftest import jpeg_of, smooth_picture
from PIL import Image

from ccssl_tf.data import proposal_records, records
from ccssl_tf.data.manifest import shard_name
from data_prep import record_checks

JPEG = jpeg_of(smooth_picture(0, 30, 40))
IMAGE = dict(encoded=JPEG, filename=b"x", height=30, width=40, index=0, label=1, text=b"b")
INFO = {
    "images": dict(class_names=["a", "b"]),
    "features": dict(dim=5, dtype="float16"),
    "pseudo_labels": dict(num_clusters=7),
    "proposals": dict(max_proposals=2),
}


def _faults(directory, kind, *serialized, rows=None):
    shard = records.write_shard(directory / shard_name("train", 0, 1), serialized, rows)
    return record_checks.check_shard(directory, shard, kind, INFO[kind])


def _image(**changes):
    return records.image_example(**{**IMAGE, **changes})


def _png():
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(encoded=b""), "truncated or corrupt JPEG"),
        (dict(encoded=JPEG[:300]), "truncated or corrupt JPEG"),
        (dict(encoded=b"<html>"), "truncated or corrupt JPEG"),
        (dict(encoded=_png()), "image/encoded is no JPEG"),
        (dict(height=31), "the picture has 30x40 pixels, the record says 31x40"),
        (dict(label=2), "image/class/label is 2, there are 2 classes"),
        (dict(label=-2), "image/class/label is -2"),
        (dict(text=b"a"), "label 1 is called 'a', the manifest says 'b'"),
    ],
    ids=str,
)
def test_a_wrong_image_is_told_among_right_ones(tmp_path, changes, message):
    report = _faults(
        tmp_path,
        "images",
        _image(),
        _image(index=1, **changes),
        _image(index=2, label=-1, text=b""),
    )
    assert (
        report.num_faults == 1
        and report.faults[0].startswith("record 1: ")
        and message in report.faults[0]
    )
    assert report.index.tolist() == [0, 1, 2] and report.record.tolist() == [0, 1, 2]


def _with(serialized, **features):
    import tensorflow as tf

    example = tf.train.Example.FromString(serialized)
    for key, value in features.items():
        feature = example.features.feature[key.replace("__", "/")]
        values = np.asarray(value)
        if isinstance(value, bytes):
            feature.bytes_list.value[:] = [value]
        elif values.dtype.kind == "f":
            feature.float_list.value[:] = value
        else:
            feature.int64_list.value[:] = value
    return example.SerializeToString()


def _boxes(ymin, xmin, ymax, xmax, labels):
    names = (f"image__object__bbox__{name}" for name in ("ymin", "xmin", "ymax", "xmax"))
    boxes = dict(zip(names, (ymin, xmin, ymax, xmax), strict=True))
    return dict(boxes, image__object__class__label=labels)


def test_boxes_and_masks(tmp_path):
    good = _boxes([0.0, 0.5], [0.1, 0.1], [1.0, 0.6], [0.2, 1.0], [0, 1])
    assert _faults(tmp_path, "images", _with(_image(), **good)).faults == []
    assert (
        _faults(
            tmp_path, "images", _with(_image(), image__segmentation__class__encoded=_png())
        ).faults
        == []
    )
    for changes, message in (
        (_boxes([0.5], [0.1], [0.4], [0.2], [0]), "inside out"),
        (_boxes([0.5], [0.1], [1.1], [0.2], [0]), "outside the picture"),
        (_boxes([float("nan")], [0.1], [1.0], [0.2], [0]), "outside the picture"),
        (_boxes([0.5], [0.1], [1.0], [0.2], [2]), "image/object/class/label is 2"),
        (_boxes([0.5], [0.1], [1.0], [0.2], [0, 1]), "differ in number"),
        (dict(image__segmentation__class__encoded=b"x"), "the mask is no PNG"),
        (dict(image__segmentation__class__encoded=_png()[:-30]), "the mask is no PNG"),
        (dict(image__height=[1, 2]), "2 values of image/height"),
    ):
        (fault,) = _faults(tmp_path, "images", _with(_image(), **changes)).faults
        assert message in fault


def test_what_is_no_example(tmp_path):
    assert (
        _faults(tmp_path, "images", b"\xff\xff junk").faults[0] == "record 0: no tf.train.Example"
    )


def test_many_faults_are_counted_and_the_first_kept(tmp_path):
    report = _faults(tmp_path, "images", *(_image(index=i, label=9) for i in range(50)))
    assert report.num_faults == 50 and len(report.faults) == record_checks.LISTED


def test_features(tmp_path):
    def block(index, rows, dim=5, value=0.0):
        return records.feature_example(np.array(index), np.full((rows, dim), value, np.float16))

    report = _faults(tmp_path, "features", block([4, 2], 2), block([0], 1), rows=3)
    assert (
        report.faults == []
        and report.index.tolist() == [4, 2, 0]
        and report.record.tolist() == [0, 0, 1]
    )
    for second, message in (
        (block([0], 2), "record 1: 20 bytes for 1 rows of 5 float16"),
        (block([0], 1, dim=4), "record 1: 8 bytes for 1 rows of 5 float16"),
        (block([0], 1, value=np.inf), "record 1: NaN or infinity"),
    ):
        report = _faults(tmp_path, "features", block([4, 2], 2), second, rows=3)
        assert message in report.faults[0] and report.num_faults == 1
    assert _faults(tmp_path, "features", block([1], 1), rows=2).faults == [
        "holds 1 rows instead of 2"
    ]


def test_pseudo_labels(tmp_path):
    right = records.pseudo_label_example(0, b"x", 6, 0.5)
    assert _faults(tmp_path, "pseudo_labels", right).faults == []
    for wrong, message in (
        (dict(label=[7]), "label is 7, there are 7 clusters"),
        (dict(distance=[float("nan")]), "distance is nan"),
    ):
        (fault,) = _faults(
            tmp_path, "pseudo_labels", right, _with(right, **wrong, index=[1])
        ).faults
        assert fault.startswith("record 1: ") and message in fault


def test_proposals(tmp_path):
    def boxes(*rows, index=0):
        return proposal_records.proposal_example(index, b"x", np.array(rows))

    report = _faults(tmp_path, "proposals", boxes([1, 1, 1, 1], [2, 3, 4, 5]), boxes(index=3))
    assert report.faults == [] and report.index.tolist() == [0, 3]
    for wrong, message in (
        (boxes([0, 1, 2, 2]), "outside the picture"),
        (boxes([5, 1, 4, 2]), "inside out"),
        (boxes(*[[1, 1, 1, 1]] * 3), "12 corners, four times at most 2 expected"),
        (boxes([1, 1, 1]), "3 corners"),
    ):
        (fault,) = _faults(tmp_path, "proposals", wrong).faults
        assert message in fault

"""Objects and proposals come in as they were written, and what cannot be is refused with the
image's name.
"""

import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.data import proposal_records, records, voc_records
from ccssl_tf.data.manifest import Manifest, shard_name
from ccssl_tf.downstream.detection_images import code_statistics, read_detection_images
from ccssl_tf.ops import boxes as box_ops
from ccssl_tf.runs.errors import InputError

PIXELS = dict(height=20, width=30)


def write(
    directory,
    *,
    boxes=((1, 1, 30, 20),),
    proposals=((2, 3, 10, 11),),
    labels=(1,),
    with_objects=True,
):
    """Two photos, the second with these objects and proposals."""
    (directory / "images").mkdir(parents=True)
    (directory / "proposals").mkdir()
    encoded, examples, found = tf.io.encode_jpeg(np.zeros([20, 30, 3], np.uint8)).numpy(), [], []
    for index, (own, own_labels, own_proposals) in enumerate(
        [(((4, 5, 9, 8),), (0,), ((1, 1, 5, 5), (4, 5, 9, 9))), (boxes, labels, proposals)]
    ):
        flags = dict(difficult=[True] * len(own), truncated=[False] * len(own))
        objects = voc_records.object_features(
            np.reshape(own, [-1, 4]), list(own_labels), [b"x"] * len(own), **flags, **PIXELS
        )
        record = dict(
            encoded=encoded, filename=f"VOC2007/00000{index}.jpg".encode(), index=index, **PIXELS
        )
        examples.append(records.image_example(**record, extra=objects if with_objects else None))
        found.append(
            proposal_records.proposal_example(
                index, record["filename"], np.reshape(own_proposals, [-1, 4])
            )
        )
    images = Manifest(
        "images",
        {"test": [records.write_shard(directory / "images" / shard_name("test", 0, 1), examples)]},
        dict(class_names=["a", "b"]),
    )
    images.write(directory / "images")
    shard = records.write_shard(directory / "proposals" / shard_name("test", 0, 1), found)
    Manifest(
        "proposals",
        {"test": [shard]},
        dict(images_fingerprint={"test": images.fingerprint("test")}),
    ).write(directory / "proposals")


def read(directory, split="test"):
    return read_detection_images(directory / "images", split, directory / "proposals")


def test_everything_comes_in(tmp_path):
    write(tmp_path)
    found = read(tmp_path)
    assert found.names == ["000000", "000001"] and len(found) == 2
    np.testing.assert_array_equal(found.sizes, [[20, 30]] * 2)
    np.testing.assert_array_equal(found.truths[1], [[0, 0, 29, 19]])
    np.testing.assert_array_equal(found.labels[0], [0])
    assert found.difficult[0].all()
    np.testing.assert_array_equal(found.proposals[0], [[0, 0, 4, 4], [3, 4, 8, 8]])


def test_images_without_proposals_have_the_whole_image(tmp_path, capsys):
    write(tmp_path, proposals=())
    np.testing.assert_array_equal(read(tmp_path).proposals[1], [[0, 0, 29, 19]])
    line = capsys.readouterr().out
    assert line.count("\n") == 1 and "1 images of test have no proposals (first: 000001)" in line


@pytest.mark.parametrize(
    "case, message",
    [
        (
            dict(proposals=((1, 1, 5, 5), (9, 9, 8, 12))),
            r"000001 of test: proposal 1 .*9 9 8 12, from 1\) is inverted",
        ),
        (dict(proposals=((1, 1, 31, 5),)), "proposal 0 .* lies outside of the 30 x 20 pixels"),
        (dict(proposals=((0, 1, 3, 5),)), "proposal 0 .* lies outside"),
        (dict(boxes=((1, 1, 30, 21),)), "images: 000001 of test: object 0 .* lies outside"),
        (dict(labels=(2,)), "000001 of test: class 2, and there are 2 names"),
        (dict(labels=(-1,)), "000001 of test: class -1, and there are 2 names"),
        (dict(with_objects=False), "images of split test have no boxes"),
    ],
)
def test_what_cannot_be_is_refused(case, message, tmp_path):
    write(tmp_path, **case)
    with pytest.raises(InputError, match=message):
        read(tmp_path)


def test_a_split_that_is_not_there_is_refused_with_those_there_are(tmp_path):
    write(tmp_path)
    with pytest.raises(InputError, match="no split trainval, there are test"):
        read(tmp_path, "trainval")
    images = Manifest.read(tmp_path / "images", "images")
    Manifest(
        "images", {"test": images.shards("test"), "val": images.shards("test")}, images.info
    ).write(tmp_path / "images")
    with pytest.raises(
        InputError, match="proposals: no proposals of split val, there are those of test"
    ):
        read(tmp_path, "val")


def test_statistics_are_those_of_all_foreground_regions(objects_dir):
    images = read_detection_images(objects_dir / "images", "trainval", objects_dir / "proposals")
    codes = {number: [] for number in range(3)}
    for truths, labels, proposals in zip(
        images.truths, images.labels, images.proposals, strict=True
    ):
        for region in np.concatenate([truths, proposals]):
            overlaps = box_ops.intersection_over_union(region[None], truths).numpy()[0]
            if overlaps.max() >= 0.5:
                best = overlaps.argmax()
                codes[labels[best]].append(box_ops.encode(region, truths[best]).numpy())
    means, deviations = code_statistics(images, 4, 0.5, mirrored=False)
    for number, own in codes.items():
        np.testing.assert_allclose(means[number], np.mean(own, 0), atol=1e-6)
        np.testing.assert_allclose(deviations[number], np.std(own, 0), atol=1e-6)
    # A class without regions; and with mirrored photos dx is 0 on average.
    assert (means[3] == 0).all() and (deviations[3] == 1).all()
    means, deviations = code_statistics(images, 3, 0.5, mirrored=True)
    both = np.array([[-code[0], *code[1:]] for code in codes[0]] + codes[0])
    np.testing.assert_allclose(means[0], both.mean(0), atol=1e-6)
    np.testing.assert_allclose(deviations[0], both.std(0), atol=1e-6)

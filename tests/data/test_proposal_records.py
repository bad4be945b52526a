"""Proposals come back by image index, and only for the images they were made from."""

import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.data import proposal_records, records
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.runs.errors import CorruptArtifactError, InputError

BOXES = [
    np.array([[1, 2, 3, 4], [500, 375, 500, 375]]),
    np.zeros([0, 4], int),
    np.array([[7, 7, 70000, 8]]),
]


def _write(directory, indices):
    examples = [
        proposal_records.proposal_example(index, b"%d.jpg" % index, BOXES[index])
        for index in indices
    ]
    shard = records.write_shard(directory / "test-00000-of-00001.tfrecord", examples)
    Manifest(
        "proposals", {"test": [shard]}, {"images_fingerprint": {"test": "0123456789abcdef"}}
    ).write(directory)


def test_round_trip_in_a_graph():
    parsed = tf.function(proposal_records.parse_proposals)(
        proposal_records.proposal_example(5, b"\xff.jpg", BOXES[0])
    )
    assert parsed["index"] == 5 and parsed["filename"] == b"\xff.jpg"
    np.testing.assert_array_equal(parsed["boxes"], BOXES[0])


def test_boxes_lie_at_their_index(tmp_path):
    _write(tmp_path, [2, 0, 1])
    found = proposal_records.read_proposals(tmp_path, "test", "0123456789abcdef")
    assert [boxes.dtype for boxes in found] == [np.int32] * 3
    for boxes, expected in zip(found, BOXES, strict=True):
        np.testing.assert_array_equal(boxes, expected)


def test_other_images_and_damage_are_refused(tmp_path):
    _write(tmp_path, [2, 0, 1])
    with pytest.raises(InputError, match=r"0123456789ab, these images have other"):
        proposal_records.read_proposals(tmp_path, "test", "other")
    with pytest.raises(InputError, match="no proposals of split val, there are those of"):
        proposal_records.read_proposals(tmp_path, "val", "0123456789abcdef")
    _write(tmp_path, [2, 0, 0])
    with pytest.raises(CorruptArtifactError, match="image 0 of test is there twice"):
        proposal_records.read_proposals(tmp_path, "test", "0123456789abcdef")

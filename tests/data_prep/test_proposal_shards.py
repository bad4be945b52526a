"""Shards of proposals mirror those of the images."""

import numpy as np
import pytest

from ccssl_tf.data import proposal_records, records
from ccssl_tf.runs.errors import InputError
from data_prep.proposal_shards import ProposalTask, search_images, write_shard

NAME = "trainval-00000-of-00002.tfrecord"


class Recorder:
    """Gives image n the boxes [[1, 1, n, n]] * 3 and remembers whom it was asked for."""

    def __init__(self):
        self.seen = []

    def boxes(self, parsed):
        number = int(parsed["filename"][:6])
        assert (parsed["height"], parsed["width"]) == (50 + number, 60) and parsed[
            "encoded"
        ].startswith(b"\xff\xd8")
        if number == 8:
            raise InputError("no boxes of 8")
        self.seen.append(number)
        return np.array([[1, 1, number, number]] * 3)


def test_chunks_of_a_shard_are_searched(textured_dir, tmp_path):
    source = Recorder()
    task = ProposalTask(textured_dir / NAME, source, tmp_path, 2)
    assert search_images(task, 0, 3) + search_images(task, 5, 8) == 6
    assert source.seen == [0, 1, 2, 5, 6, 7] and not list(tmp_path.iterdir())


def test_a_shard_holds_the_first_boxes_of_each_image_in_order(textured_dir, tmp_path):
    task = ProposalTask(textured_dir / "test-00000-of-00001.tfrecord", Recorder(), tmp_path, 2)
    shard, boxes, _ = write_shard(task)
    assert (shard.name, shard.num_examples, boxes) == ("test-00000-of-00001.tfrecord", 2, 4)
    found = [
        proposal_records.parse_proposals(serialized)
        for serialized in records.read_shard(tmp_path / shard.name)
    ]
    assert [
        (int(one["index"]), one["filename"].numpy(), one["boxes"].numpy().tolist()) for one in found
    ] == [
        (0, b"000011.jpg", [[1, 1, 11, 11]] * 2),
        (1, b"000003.jpg", [[1, 1, 3, 3]] * 2),
    ]


def test_a_refusal_leaves_no_shard(textured_dir, tmp_path):
    with pytest.raises(InputError, match="no boxes of 8"):
        write_shard(ProposalTask(textured_dir / NAME, Recorder(), tmp_path, 2))
    assert not list(tmp_path.iterdir())

"""Records with a valid checksum and a wrong content: the work ends with one line that names shard
and record.
"""

import pytest
import tensorflow as tf
from conftest import jpeg_of, smooth_picture

from ccssl_tf.data import records
from ccssl_tf.data.image_batches import augmented_images
from ccssl_tf.data.manifest import Manifest, shard_name
from ccssl_tf.data.pipeline import Epoch
from ccssl_tf.runs.errors import CorruptArtifactError

WRONG = 5


def _image(index, encoded=None):
    encoded = encoded or jpeg_of(smooth_picture(index, 40, 40))
    sizes = dict(height=40, width=40)
    return records.image_example(encoded=encoded, filename=b"x", index=index, **sizes)


def _without(key):
    example = tf.train.Example.FromString(_image(WRONG))
    del example.features.feature[key]
    return example.SerializeToString()


CASES = {
    "junk JPEG": _image(WRONG, b"\xff\xd8\xffjunk" * 20),
    "JPEG cut off": _image(WRONG, jpeg_of(smooth_picture(WRONG, 40, 40))[:-300]),
    "no picture": _image(WRONG, b"<html>"),
    "no index": _without("image/index"),
    "no image": _without("image/encoded"),
    "no Example": b"\xff\xff\xff junk",
    "empty": b"",
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("training", [True, False])
def test_shard_and_record_are_named(tmp_path, case, training):
    shards = []
    for number in range(2):
        indices = range(4 * number, 4 * number + 4)
        examples = [CASES[case] if index == WRONG else _image(index) for index in indices]
        path = tmp_path / shard_name("train", number, 2)
        shards.append(records.write_shard(path, examples))
    Manifest("images", {"train": shards}, {}).write(tmp_path)
    batches = augmented_images(tmp_path, "train", Epoch(4, training=training), image_size=16)
    message = f"{shards[1].name}: record 1 .from 0. cannot be read"
    with pytest.raises(CorruptArtifactError, match=message), records.naming_damage(tmp_path):
        for _ in batches:
            pass


def test_other_errors_are_not_laid_to_the_records(tmp_path):
    error = tf.errors.InvalidArgumentError(None, None, "Incompatible shapes: [3] vs. [4]")
    with pytest.raises(tf.errors.InvalidArgumentError), records.naming_damage(tmp_path):
        raise error

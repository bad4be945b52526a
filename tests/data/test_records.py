"""Records read back as they were written, by our parsers and by TensorFlow's own reader of the
Object Detection keys.
"""

import hashlib

import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.data import records
from ccssl_tf.data.manifest import Shard
from ccssl_tf.runs.errors import CorruptArtifactError, InputError

ODD_NAMES = [b"plain.jpg", "Prüfung/日本 1.JPEG".encode(), b"\xff\xfe\x00 \n.jpg", b""]


@pytest.mark.parametrize("filename", ODD_NAMES)
def test_image_round_trip(filename):
    encoded = bytes(range(256))
    serialized = records.image_example(
        encoded=encoded, filename=filename, height=3, width=2**20, index=2**40, label=7, text=b"cat"
    )
    parsed = tf.function(records.parse_image)(serialized)
    assert {name: value.numpy() for name, value in parsed.items()} == dict(
        encoded=encoded, filename=filename, index=2**40, label=7
    )
    assert parsed["index"].dtype == parsed["label"].dtype == tf.int64


def test_image_keys_are_those_of_the_object_detection_api():
    serialized = records.image_example(
        encoded=b"jpeg", filename=b"a", height=3, width=4, index=0, text=b"cat", label=1
    )
    features = tf.train.Example.FromString(serialized).features.feature
    values = {
        name: list(getattr(feature, feature.WhichOneof("kind")).value)
        for name, feature in features.items()
    }
    assert values == {
        "image/encoded": [b"jpeg"],
        "image/format": [b"jpeg"],
        "image/filename": [b"a"],
        "image/height": [3],
        "image/width": [4],
        "image/index": [0],
        "image/class/label": [1],
        "image/class/text": [b"cat"],
    }


def test_no_label_is_minus_one_and_equal_images_are_equal_bytes():
    arguments = dict(encoded=b"jpeg", filename=b"a", height=3, width=4, index=5)
    assert records.parse_image(records.image_example(**arguments))["label"] == -1
    assert records.image_example(**arguments) == records.image_example(**arguments)


@pytest.mark.parametrize("dtype", ["float16", "float32", ">f4"])
@pytest.mark.parametrize("rows", [0, 1, 65])
def test_feature_round_trip(dtype, rows):
    random = np.random.default_rng(rows)
    features = random.normal(size=[rows, 12]).astype(dtype)
    if rows:
        features[0, :4] = [np.inf, -0.0, 65504, 6e-8]
    index = random.integers(0, 2**40, rows)
    stored = np.dtype(dtype).newbyteorder("=").name
    parse = tf.function(lambda serialized: records.parse_features(serialized, 12, stored))
    found_index, found = parse(records.feature_example(index, features))
    assert found.dtype == stored and found_index.dtype == tf.int64
    np.testing.assert_array_equal(found_index, index)
    np.testing.assert_array_equal(found, features.astype("float32"))


def test_features_are_stored_as_little_endian_bytes_without_loss_of_space():
    features = np.arange(1200, dtype="float16").reshape(100, 12)
    serialized = records.feature_example(np.arange(100), features)
    assert features.astype("<f2").tobytes() in serialized
    assert len(serialized) < features.nbytes + 200


@pytest.mark.parametrize("filename", ODD_NAMES)
def test_pseudo_label_round_trip(filename):
    parsed = records.parse_pseudo_label(
        tf.constant([records.pseudo_label_example(2**40, filename, 1999, 0.1)] * 2)
    )
    assert [
        value.numpy().tolist() for value in (parsed["index"], parsed["filename"], parsed["label"])
    ] == [
        [2**40] * 2,
        [filename] * 2,
        [1999] * 2,
    ]
    np.testing.assert_array_equal(parsed["distance"], np.float32([0.1, 0.1]))


def test_nearest_clusters_of_a_pseudo_label():
    nearest, distances = np.array([3, 0, 7], np.int32), np.float32([0.1, 0.1, 2])
    serialized = records.pseudo_label_example(5, b"a", 3, 0.1, nearest, distances)
    parsed = records.parse_pseudo_label(tf.constant([serialized] * 2), 3)
    np.testing.assert_array_equal(parsed["nearest"], [nearest] * 2)
    np.testing.assert_array_equal(parsed["nearest_distances"], [distances] * 2)
    assert "nearest" not in records.parse_pseudo_label(tf.constant([serialized]))


def test_shards_are_written_whole_and_described(tmp_path):
    path = tmp_path / "a.tfrecord"
    examples = [bytes([i]) * i for i in range(5)]
    shard = records.write_shard(path, iter(examples))
    content = path.read_bytes()
    sample = hashlib.sha256(content * 3).hexdigest()  # The whole of so small a file.
    digest = hashlib.sha256(content).hexdigest()
    assert shard == Shard("a.tfrecord", 5, len(content), digest, sample)
    assert records.write_shard(path, examples, num_examples=320).num_examples == 320
    assert list(records.read_shard(path)) == examples

    def failing():
        yield b"one"
        raise RuntimeError("source is gone")

    with pytest.raises(RuntimeError):
        records.write_shard(path, failing())
    assert path.read_bytes() == content and [file.name for file in tmp_path.iterdir()] == [
        "a.tfrecord"
    ]


# A record is 8 bytes of length, 4 of checksum, its data, 4 of checksum: 16 + 100 here.
@pytest.mark.parametrize(
    ("offset", "intact"),
    [(0, 0), (8, 0), (50, 0), (116 * 3 + 4, 3), (116 * 3 + 60, 3), (116 * 9 + 115, 9)],
)
def test_a_damaged_shard_is_named_with_the_last_good_record(tmp_path, offset, intact):
    path = tmp_path / "train-00000-of-00001.tfrecord"
    records.write_shard(path, [bytes([i]) * 100 for i in range(10)])
    content = bytearray(path.read_bytes())
    assert len(content) == 1160
    content[offset] ^= 4
    path.write_bytes(content)
    found = []
    with pytest.raises(
        CorruptArtifactError, match=rf"{path}: damaged after record {intact} "
    ) as caught:
        found.extend(records.read_shard(path))
    assert found == [bytes([i]) * 100 for i in range(intact)]
    assert "\n" not in str(caught.value)


def test_a_shard_cut_inside_a_record_is_named(tmp_path):
    path = tmp_path / "a.tfrecord"
    records.write_shard(path, [bytes(100)] * 3)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(CorruptArtifactError, match=r"a.tfrecord: damaged after record 2 "):
        list(records.read_shard(path))


def test_a_missing_shard_is_named(tmp_path):
    with pytest.raises(CorruptArtifactError, match="none.tfrecord"):
        list(records.read_shard(tmp_path / "none.tfrecord"))


def test_damage_met_in_a_pipeline_is_named(tmp_path):
    path = tmp_path / "train-00001-of-00002.tfrecord"
    records.write_shard(tmp_path / "train-00000-of-00002.tfrecord", [bytes(100)] * 3)
    records.write_shard(path, [bytes(100)] * 3)
    content = bytearray(path.read_bytes())
    content[116 + 50] ^= 4
    path.write_bytes(content)
    dataset = tf.data.TFRecordDataset([str(file) for file in sorted(tmp_path.iterdir())]).map(
        tf.identity
    )
    with (
        pytest.raises(CorruptArtifactError, match=f"{path.name}: damaged after record 1 "),
        records.naming_damage(tmp_path),
    ):
        list(dataset)


@pytest.mark.parametrize("filename", ODD_NAMES)
def test_a_record_that_is_not_as_required_is_named_in_one_line(tmp_path, filename):
    def label(number):
        parsed = records.parse_image(
            records.image_example(encoded=b"", filename=filename, height=1, width=1, index=3)
        )
        return records.required(
            number, number < 2, "data: split val", parsed, "has label {} [sic]", number
        )

    dataset = tf.data.Dataset.range(4).map(label)
    assert list(dataset.take(2).as_numpy_iterator()) == [0, 1]
    with pytest.raises(InputError) as raised, records.naming_damage(tmp_path):
        list(dataset)
    message = str(raised.value)
    assert (
        message.startswith("data: split val: image 3 (")
        and message.endswith(") has label 2 [sic]")
        and message.isprintable()
    )


def test_other_errors_pass(tmp_path):
    dataset = tf.data.Dataset.range(1).map(lambda number: tf.ensure_shape(tf.range(number), [5]))
    with pytest.raises(tf.errors.InvalidArgumentError), records.naming_damage(tmp_path):
        list(dataset)

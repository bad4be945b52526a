"""Against TensorFlow's writer, which knows the format, and every single byte changed."""

import gzip

import pytest
import tensorflow as tf

from ccssl_tf.runs.errors import InputError
from data_prep import tfrecord_file
from data_prep.faults import Faults

RECORDS = [b"one", b"", b"three" * 1000, bytes(range(256))]


@pytest.fixture
def path(tmp_path):
    """A file of `RECORDS`."""
    path = tmp_path / "a.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in RECORDS:
            writer.write(record)
    return path


def _read(path):
    faults = Faults("source")
    read = list(tfrecord_file.read_records(path, faults))
    faults.refuse()
    return read


def test_records_in_order_and_at_random(path):
    read = _read(path)
    assert [data for _, data in read] == RECORDS
    for location, data in reversed(read):
        assert tfrecord_file.read_record(location) == data


def test_every_changed_byte_is_told(path):
    whole = path.read_bytes()
    for at in [*range(30), *range(30, len(whole), 97), *range(len(whole) - 20, len(whole))]:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        with pytest.raises(InputError, match="damaged at byte"):
            _read(path)


@pytest.mark.parametrize("cut", [1, 4, 100, 5000])
def test_cut_files_are_told(path, cut):
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(InputError, match="truncated"):
        _read(path)


def test_what_follows_a_damaged_record_is_still_read(path):
    data = bytearray(path.read_bytes())
    data[12] ^= 1
    path.write_bytes(data)
    faults = Faults("source")
    assert [data for _, data in tfrecord_file.read_records(path, faults)] == RECORDS[1:]
    assert faults.count == 1


def test_compressed_and_preallocated_files_are_named(path):
    whole = path.read_bytes()
    path.write_bytes(gzip.compress(whole))
    with pytest.raises(InputError, match="compressed with gzip; decompress it"):
        _read(path)
    path.write_bytes(whole + bytes(100))
    with pytest.raises(InputError, match=f"damaged at byte {len(whole)} .record 4"):
        _read(path)

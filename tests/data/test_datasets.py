"""Order and end of datasets."""

import time

import tensorflow as tf

from ccssl_tf.data.datasets import fixed, serialized_records


def write(path, values):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for value in values:
            writer.write(value)
    return path


def test_records_come_file_by_file(tmp_path):
    paths = [write(tmp_path / "b", [b"1", b"2"]), write(tmp_path / "a", [b"3"])]
    assert list(serialized_records(paths).as_numpy_iterator()) == [b"1", b"2", b"3"]
    assert list(serialized_records(paths[1]).as_numpy_iterator()) == [b"3"]


def test_what_is_derived_is_fixed_too():
    dataset = (
        fixed(tf.data.Dataset.range(10)).map(lambda x: x, num_parallel_calls=2).batch(2).prefetch(1)
    )
    zipped = tf.data.Dataset.zip(dataset, tf.data.Dataset.range(5))
    for options in (dataset.options(), zipped.options()):
        assert options.autotune.enabled is False and options.deterministic is True


def test_nobody_waits_for_an_iterator_to_end():
    """With autotuning most of these would wait for a tenth of a second or more."""

    @tf.autograph.experimental.do_not_convert
    def work(number):
        return tf.reduce_sum(tf.random.stateless_normal([300_000], [number, 0]))

    waited = []
    for _ in range(8):
        iterator = iter(
            fixed(tf.data.Dataset.range(200)).map(work, num_parallel_calls=2).prefetch(4)
        )
        for _ in iterator:
            pass
        start = time.perf_counter()
        del iterator
        waited.append(time.perf_counter() - start)
    assert sorted(waited)[6] < 0.1, waited

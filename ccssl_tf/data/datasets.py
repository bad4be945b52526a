"""tf.data.Datasets that give the same elements in the same order every time, and end at once.

tf.data's autotuner is a thread of each iterator. It sleeps for longer and longer, up to a minute,
and mostly overlooks that its iterator is being deleted, so whoever deletes it waits. What it would
tune has fixed values here: as many calls at a time as there are cores.
"""

import tensorflow as tf


def fixed(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns the dataset without autotuning and in a fixed order; what is derived from it is so,
    too.
    """
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False
    return dataset.with_options(options)


def serialized_records(paths) -> tf.data.Dataset:
    """Returns the records of TFRecord files, one file after the other: scalar strings; paths: one,
    or a list.
    """
    paths = paths if isinstance(paths, list) else [paths]
    return fixed(tf.data.TFRecordDataset([str(path) for path in paths]))

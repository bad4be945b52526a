"""Files as other projects write them."""

import io

import tensorflow as tf
from conftest import smooth_picture
from PIL import Image


def _feature(value):
    values = value if isinstance(value, list) else [value]
    if not values or isinstance(values[0], float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    if isinstance(values[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def write(path, rows):
    """Writes dictionaries of key -> value as examples; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in rows:
            features = {key: _feature(value) for key, value in row.items()}
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())
    return path


def jpeg(seed=0, height=24, width=32):
    """Encoded pictures that differ."""
    file = io.BytesIO()
    Image.fromarray(smooth_picture(seed, height, width)).save(file, "JPEG")
    return file.getvalue()

"""Decoding, resizing and cropping of single images: pure functions, seeds go in."""

import tensorflow as tf

from ccssl_tf.data import SMALL_IMAGE_SIZE


def _resized(encoded, short_side: int):
    """Decodes RGB JPEG bytes so that the shorter side has `short_side` pixels: [h, w, 3] uint8."""
    # The accurate transform costs no more and gives the very pixels of other libraries.
    image = tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")
    size = tf.shape(image)[:2]
    shortest = tf.reduce_min(size)

    def resize():
        scale = tf.cast(short_side, tf.float32) / tf.cast(shortest, tf.float32)
        target = tf.maximum(short_side, tf.cast(tf.round(tf.cast(size, tf.float32) * scale), tf.int32))
        resized = tf.image.resize(image, target, antialias=True)
        return tf.saturate_cast(tf.round(resized), tf.uint8)

    image = tf.cond(tf.equal(shortest, short_side), lambda: image, resize)
    image.set_shape([None, None, 3])
    return image


def whole_image(encoded, image_size: int):
    """Returns the central square at full extent: short side resized to `image_size`, centre crop; [S, S, 3] uint8."""
    return center_crop(encoded, image_size, image_size)


def center_crop(encoded, crop_size: int, short_side: int):
    """Returns the central crop [crop_size, crop_size, 3] uint8 after resizing the short side to `short_side` >= crop_size."""
    image = _resized(encoded, short_side)
    offset = (tf.shape(image)[:2] - crop_size) // 2
    return _cut(image, offset, crop_size)


def random_crop(encoded, crop_size: int, short_side: int, seed):
    """Returns a uniformly placed crop [crop_size, crop_size, 3] uint8 after resizing the short side; seed [2] int64."""
    image = _resized(encoded, short_side)
    margin = tf.cast(tf.shape(image)[:2] - crop_size + 1, tf.float32)
    offset = tf.cast(tf.floor(tf.random.stateless_uniform([2], seed) * margin), tf.int32)
    return _cut(image, offset, crop_size)


def augmented_crop(encoded, image_size: int, seed):
    """Returns a random crop, mirrored half the time: [S, S, 3] uint8; seed [2] int64.

    As standard AlexNet training the crop is 227 of a short side of 256 pixels, in proportion. Images below 128 pixels have no
    margin to spare: they are padded by reflection by a sixteenth on every side instead.
    """
    draws = tf.random.stateless_uniform([3], seed)
    if image_size < SMALL_IMAGE_SIZE:
        padding = image_size // 16
        image = center_crop(encoded, image_size, image_size)
        image = tf.pad(image, [[padding, padding], [padding, padding], [0, 0]], mode="REFLECT")
    else:
        image = _resized(encoded, round(image_size * 256 / 227))
    margin = tf.cast(tf.shape(image)[:2] - image_size + 1, tf.float32)
    image = _cut(image, tf.cast(tf.floor(draws[:2] * margin), tf.int32), image_size)
    return tf.cond(draws[2] < 0.5, lambda: image[:, ::-1], lambda: image)


def evaluation_crop(encoded, image_size: int):
    """Returns the central crop that goes with `augmented_crop`: [S, S, 3] uint8."""
    return center_crop(encoded, image_size, image_size if image_size < SMALL_IMAGE_SIZE else round(image_size * 256 / 227))


def _cut(image, offset, size):
    image = tf.slice(image, [offset[0], offset[1], 0], [size, size, 3])
    image.set_shape([size, size, 3])
    return image

"""Decoding, resizing and cropping of single images: pure functions, seeds go in."""

import tensorflow as tf

from ccssl_tf.data import SMALL_IMAGE_SIZE


def decoded(encoded):
    """Returns the pixels of RGB JPEG bytes, [h, w, 3] uint8."""
    # The accurate transform costs no more and gives the very pixels of other libraries.
    return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")


def resized(image, size):
    """Resizes [h, w, 3] uint8 to `size` [2] int32 with antialiasing, to whole grey levels."""
    return tf.saturate_cast(tf.round(tf.image.resize(image, size, antialias=True)), tf.uint8)


def resized_long_side(image, long_side: int):
    """Resizes [h, w, 3] uint8 so that the longer side has `long_side` pixels."""
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    target = tf.maximum(1, tf.cast(tf.round(size * (long_side / tf.reduce_max(size))), tf.int32))
    image = resized(image, target)
    image.set_shape([None, None, 3])
    return image


def _resized_crop(encoded, crop_size: int, short_side: int, place):
    """Decodes RGB JPEG bytes, resizes so that the shorter side has `short_side` >= crop_size
    pixels, and crops.

    Of a resized image only the crop is computed.

    Args:
      encoded: RGB JPEG bytes.
      crop_size, short_side: pixels.
      place: maps how far the crop may be from the upper left corner, [2] int32, to how far it is.

    Returns:
      [crop_size, crop_size, 3] uint8.
    """
    image = decoded(encoded)
    size = tf.shape(image)[:2]
    shortest = tf.reduce_min(size)
    scale = tf.cast(short_side, tf.float32) / tf.cast(shortest, tf.float32)
    target = tf.maximum(short_side, tf.cast(tf.round(tf.cast(size, tf.float32) * scale), tf.int32))
    offset = place(target - crop_size)

    def resized_part():
        # As in tf.image.resize, which has no offset.
        scales = tf.cast(target, tf.float32) / tf.cast(size, tf.float32)
        part = tf.raw_ops.ScaleAndTranslate(
            images=image[None],
            size=[crop_size, crop_size],
            scale=scales,
            translation=-tf.cast(offset, tf.float32),
            kernel_type="triangle",
            antialias=True,
        )
        return tf.saturate_cast(tf.round(part[0]), tf.uint8)

    def part():
        return tf.slice(image, [offset[0], offset[1], 0], [crop_size, crop_size, 3])

    crop = tf.cond(tf.equal(shortest, short_side), part, resized_part)
    crop.set_shape([crop_size, crop_size, 3])
    return crop


def whole_image(encoded, image_size: int):
    """Returns the central square at full extent: short side resized to `image_size`, centre crop;
    [S, S, 3] uint8.
    """
    return center_crop(encoded, image_size, image_size)


def center_crop(encoded, crop_size: int, short_side: int):
    """Returns the central crop [crop_size, crop_size, 3] uint8 after resizing the short side to
    `short_side` >= crop_size.
    """
    return _resized_crop(encoded, crop_size, short_side, lambda room: room // 2)


def random_crop(encoded, crop_size: int, short_side: int, seed):
    """Returns a uniformly placed crop [crop_size, crop_size, 3] uint8 after resizing the short
    side; seed [2] int64.
    """
    return _resized_crop(
        encoded, crop_size, short_side, _uniform(tf.random.stateless_uniform([2], seed))
    )


def augmented_crop(encoded, image_size: int, seed):
    """Returns a random crop, mirrored half the time: [S, S, 3] uint8; seed [2] int64.

    As standard AlexNet training the crop is 227 of a short side of 256 pixels, in proportion.
    Images below 128 pixels have no margin to spare: they are padded by reflection by a sixteenth on
    every side instead.
    """
    draws = tf.random.stateless_uniform([3], seed)
    place = _uniform(draws[:2])
    if image_size < SMALL_IMAGE_SIZE:
        padding = image_size // 16
        image = center_crop(encoded, image_size, image_size)
        image = tf.pad(image, [[padding, padding], [padding, padding], [0, 0]], mode="REFLECT")
        offset = place(tf.constant([2 * padding, 2 * padding]))
        image = tf.slice(image, [offset[0], offset[1], 0], [image_size, image_size, 3])
    else:
        image = _resized_crop(encoded, image_size, round(image_size * 256 / 227), place)
    return tf.cond(draws[2] < 0.5, lambda: image[:, ::-1], lambda: image)


def evaluation_crop(encoded, image_size: int):
    """Returns the central crop that goes with `augmented_crop`: [S, S, 3] uint8."""
    return center_crop(
        encoded,
        image_size,
        image_size if image_size < SMALL_IMAGE_SIZE else round(image_size * 256 / 227),
    )


def evaluation_crops(encoded, image_size: int, num_crops: int):
    """Returns the crops an answer is averaged over: [num_crops, S, S, 3] uint8.

    Of 10 crops, as Krizhevsky et al. 2012 and Caffe's `oversample`: the four corners of the central
    square (left above, right above, left below, right below) and its centre, then these mirrored.
    The square is what `augmented_crop` cuts from: 256 pixels for crops of 227, in proportion, or a
    small image with its reflected margins.

    Args:
      encoded: RGB JPEG bytes.
      image_size: S, pixels.
      num_crops: 1 (the centre) or 10.
    """
    if num_crops == 1:
        return evaluation_crop(encoded, image_size)[None]
    if image_size < SMALL_IMAGE_SIZE:
        padding = image_size // 16
        square = tf.pad(
            center_crop(encoded, image_size, image_size),
            [[padding, padding], [padding, padding], [0, 0]],
            mode="REFLECT",
        )
        side = image_size + 2 * padding
    else:
        side = round(image_size * 256 / 227)
        square = center_crop(encoded, side, side)
    last, middle = side - image_size, (side - image_size) // 2
    corners = [(0, 0), (0, last), (last, 0), (last, last), (middle, middle)]
    crops = tf.stack([square[y : y + image_size, x : x + image_size] for y, x in corners])
    return tf.concat([crops, crops[:, :, ::-1]], axis=0)


def random_scale_crop(encoded, image_size: int, min_scale: float, max_scale: float, seed):
    """Returns a random crop of the photo at a random scale, mirrored half the time: [S, S, 3]
    uint8; seed [2] int64.

    A square of 227 / scale pixels of the photo, or of its shorter side if that is less, anywhere in
    it, is resized to S. So a scale is one of the photo's own pixels, as a network for 227 pixels
    sees them, whatever S is.

    Args:
      encoded: RGB JPEG bytes, the photo in its own size.
      image_size: S, pixels.
      min_scale, max_scale: the scale is uniform between them.
      seed: of scale, place and mirroring.
    """
    draws = tf.random.stateless_uniform([4], seed)
    size = tf.io.extract_jpeg_shape(encoded)[:2]
    scale = min_scale + draws[0] * (max_scale - min_scale)
    side = tf.minimum(tf.reduce_min(size), tf.cast(tf.round(227 / scale), tf.int32))
    offset = tf.cast(tf.floor(draws[1:3] * tf.cast(size - side + 1, tf.float32)), tf.int32)
    # The crop alone is decoded; at its border pixels may be some grey levels off those of the whole
    # photo.
    window = tf.concat([offset, [side, side]], axis=0)
    image = tf.image.decode_and_crop_jpeg(
        encoded, window, channels=3, dct_method="INTEGER_ACCURATE"
    )
    image = tf.image.resize(image, [image_size, image_size], antialias=True)
    image = tf.saturate_cast(tf.round(image), tf.uint8)
    image.set_shape([image_size, image_size, 3])
    return tf.cond(draws[3] < 0.5, lambda: image[:, ::-1], lambda: image)


def _uniform(draws):
    """Returns the `place` of a crop by draws from [0, 1), [2] float32."""
    return lambda room: tf.cast(tf.floor(draws * tf.cast(room + 1, tf.float32)), tf.int32)

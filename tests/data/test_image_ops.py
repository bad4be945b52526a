"""Resizing and cropping against Pillow and NumPy."""

import io

import numpy as np
import pytest
import tensorflow as tf
from conftest import jpeg_of, smooth_picture
from PIL import Image

from ccssl_tf.data import image_ops


def pillow_short_side(encoded, short_side):
    """Decodes and resizes with Pillow (triangle filter, as wide as the reduction): [h,
    w, 3] uint8.
    """
    image = Image.open(io.BytesIO(encoded)).convert("RGB")
    scale = short_side / min(image.size)
    size = [max(short_side, round(side * scale)) for side in image.size]
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def central(image, size):
    top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    return image[top : top + size, left : left + size]


def assert_close(found, expected):
    """Pillow rounds after rows and after columns, so a resized pixel may differ by a grey level."""
    assert found.dtype == tf.uint8 and found.shape == expected.shape
    difference = np.abs(np.int32(found) - expected)
    assert difference.max() <= 1 and difference.mean() < 0.3, (difference.max(), difference.mean())


def numbered(height, width):
    """A picture whose pixels tell their own place: red is the row, green the column, in steps that
    survive JPEG.
    """
    pixels = np.zeros([height, width, 3], np.uint8)
    pixels[..., 0] = np.arange(height)[:, None] * 6
    pixels[..., 1] = np.arange(width) * 6
    return pixels


def place(crop):
    """Returns (row, column) of the first pixel of a crop of `numbered`."""
    return tuple(np.rint(np.float32(crop)[0, 0, :2] / 6).astype(int).tolist())


SIZES = [(64, 64), (64, 150), (200, 71), (33, 300), (40, 25), (17, 16), (1, 5)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_whole_image_is_the_central_square(height, width):
    encoded = jpeg_of(smooth_picture([1, height], height, width))
    found = tf.function(image_ops.whole_image)(encoded, 32)
    assert_close(found, central(pillow_short_side(encoded, 32), 32))


@pytest.mark.parametrize(("height", "width"), SIZES[:5])
@pytest.mark.parametrize(("crop_size", "short_side"), [(24, 40), (31, 40), (40, 40)])
def test_center_crop(height, width, crop_size, short_side):
    encoded = jpeg_of(smooth_picture([2, width], height, width))
    assert_close(
        image_ops.center_crop(encoded, crop_size, short_side),
        central(pillow_short_side(encoded, short_side), crop_size),
    )


def test_an_image_of_the_right_size_is_only_decoded():
    encoded = jpeg_of(np.random.default_rng(0).integers(0, 256, [40, 50, 3], np.uint8))
    np.testing.assert_array_equal(
        image_ops.center_crop(encoded, 40, 40), np.asarray(Image.open(io.BytesIO(encoded)))[:, 5:45]
    )


def test_reduction_averages_instead_of_picking_pixels():
    noise = np.random.default_rng(1).integers(0, 256, [512, 512, 3], np.uint8)
    encoded = jpeg_of(noise)
    found = image_ops.whole_image(encoded, 32)
    assert_close(found, pillow_short_side(encoded, 32))
    assert np.std(found) < np.std(noise) / 8


def test_grey_jpegs_become_three_equal_channels():
    encoded = jpeg_of(smooth_picture(3, 50, 70)[..., 0], subsampling=-1)
    assert Image.open(io.BytesIO(encoded)).mode == "L"
    found = image_ops.whole_image(encoded, 32).numpy()
    assert_close(tf.constant(found), central(pillow_short_side(encoded, 32), 32))
    assert np.ptp(found, axis=2).max() == 0


def test_random_crops_cover_every_place_and_no_other():
    encoded = jpeg_of(numbered(36, 41))
    decoded = np.asarray(Image.open(io.BytesIO(encoded)))
    crop = tf.function(lambda seed: image_ops.random_crop(encoded, 32, 36, seed))
    counts = {}
    for step in range(600):
        found = crop(tf.constant([7, step])).numpy()
        row, column = place(found)
        counts[row, column] = counts.get((row, column), 0) + 1
        np.testing.assert_array_equal(found, decoded[row : row + 32, column : column + 32])
    # 5 x 10 places, 12 each: a fair die of 50 faces leaves none below 1 or above 30 in 600 throws.
    assert set(counts) == {(row, column) for row in range(5) for column in range(10)}
    assert max(counts.values()) <= 30


def test_random_crop_is_a_function_of_the_seed():
    encoded = jpeg_of(numbered(40, 40))
    crops = [image_ops.random_crop(encoded, 8, 40, [1, step]).numpy() for step in (1, 1, 2)]
    np.testing.assert_array_equal(crops[0], crops[1])
    assert np.any(crops[0] != crops[2])


def test_random_crop_without_margin_is_the_whole():
    encoded = jpeg_of(smooth_picture(5, 48, 48))
    np.testing.assert_array_equal(
        image_ops.random_crop(encoded, 32, 32, [0, 0]), image_ops.whole_image(encoded, 32)
    )


def unmirrored(crop):
    """Returns (crop with columns rising, whether it was mirrored)."""
    rising = crop[0, 20, 1] > crop[0, 10, 1]
    return (crop if rising else crop[:, ::-1]), not rising


def test_augmented_crops_of_small_images_move_by_reflection_and_mirror():
    """32 pixels are padded by 2 on every side: 5 x 5 places, each mirrored half the time."""
    encoded, counts = jpeg_of(numbered(32, 32)), {}
    padded = np.pad(
        np.asarray(Image.open(io.BytesIO(encoded))), [[2, 2], [2, 2], [0, 0]], mode="reflect"
    )
    crop = tf.function(lambda seed: image_ops.augmented_crop(encoded, 32, seed))
    for step in range(800):
        upright, mirrored = unmirrored(crop(tf.constant([step, 3])).numpy())
        (key,) = [
            (row, column, mirrored)
            for row in range(5)
            for column in range(5)
            if np.array_equal(padded[row : row + 32, column : column + 32], upright)
        ]
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 50 and max(counts.values()) <= 40
    assert abs(sum(count for key, count in counts.items() if key[2]) - 400) < 60


def test_augmented_crops_of_large_images_are_227_of_256():
    """128 of a short side of 144 pixels: offsets 0 to 16 down, 0 to 36 across."""
    encoded = jpeg_of(smooth_picture(9, 144, 164))
    picture = np.asarray(Image.open(io.BytesIO(encoded)))
    corners = {
        picture[row, column : column + 6].tobytes(): (row, column)
        for row in range(17)
        for column in range(37)
    }
    crop = tf.function(lambda seed: image_ops.augmented_crop(encoded, 128, seed))
    places, mirrors = [], 0
    for step in range(100):
        found = crop(tf.constant([1, step])).numpy()
        mirrored = found[0, :6].tobytes() not in corners
        upright = found[:, ::-1] if mirrored else found
        row, column = corners[upright[0, :6].tobytes()]
        np.testing.assert_array_equal(upright, picture[row : row + 128, column : column + 128])
        places.append((row, column))
        mirrors += mirrored
    assert 30 < mirrors < 70
    rows, columns = np.transpose(places)
    assert (rows.min(), rows.max()) == (0, 16) and columns.min() <= 2 and columns.max() >= 34


@pytest.mark.parametrize(("image_size", "short_side"), [(32, 32), (64, 64), (128, 144), (227, 256)])
def test_evaluation_crop_is_the_centre_of_what_training_crops(image_size, short_side):
    encoded = jpeg_of(smooth_picture(4, 150, 210))
    assert_close(
        image_ops.evaluation_crop(encoded, image_size),
        central(pillow_short_side(encoded, short_side), image_size),
    )


def test_crops_have_static_shapes_inside_a_pipeline():
    dataset = tf.data.Dataset.from_tensors(jpeg_of(smooth_picture(0, 50, 60)))
    for function in (
        lambda one: image_ops.whole_image(one, 32),
        lambda one: image_ops.random_crop(one, 32, 40, [0, 0]),
        lambda one: image_ops.augmented_crop(one, 32, [0, 0]),
        lambda one: image_ops.augmented_crop(one, 128, [0, 0]),
    ):
        shape = dataset.map(function).element_spec.shape
        assert shape == [shape[0], shape[0], 3] and shape[0] in (32, 128)


@pytest.mark.parametrize("size", [32, 128])
def test_ten_crops_are_corners_and_centre_and_their_mirrors(size):
    encoded = jpeg_of(smooth_picture(5, 200, 170))
    crops = image_ops.evaluation_crops(encoded, size, 10).numpy()
    assert crops.shape == (10, size, size, 3) and crops.dtype == np.uint8
    if size < 128:
        side, margin = size + 4, 2
        square = np.pad(
            image_ops.center_crop(encoded, size, size).numpy(),
            [(margin, margin), (margin, margin), (0, 0)],
            mode="reflect",
        )
    else:
        side = round(size * 256 / 227)
        square = image_ops.center_crop(encoded, side, side).numpy()
    last, middle = side - size, (side - size) // 2
    for number, (top, left) in enumerate(
        [(0, 0), (0, last), (last, 0), (last, last), (middle, middle)]
    ):
        np.testing.assert_array_equal(crops[number], square[top : top + size, left : left + size])
        np.testing.assert_array_equal(crops[5 + number], crops[number][:, ::-1])
    # A resized crop's places are rounded otherwise than those of all the square, so that a half may
    # become another grey level.
    difference = np.abs(np.int32(crops[4]) - np.int32(image_ops.evaluation_crop(encoded, size)))
    assert (
        difference.max() <= (0 if size < 128 else 1)
        and np.count_nonzero(difference) < 1e-3 * difference.size
    )
    np.testing.assert_array_equal(
        image_ops.evaluation_crops(encoded, size, 1)[0], image_ops.evaluation_crop(encoded, size)
    )


def test_crops_of_a_random_scale_are_parts_of_the_photo():
    encoded = jpeg_of(smooth_picture(6, 500, 375))
    photo = np.asarray(Image.open(io.BytesIO(encoded)))
    sides, mirrored = [], 0
    for number in range(30):
        seed = tf.constant([3, number], tf.int64)
        crop = image_ops.random_scale_crop(encoded, 48, 0.5, 2.0, seed).numpy()
        draws = tf.random.stateless_uniform([4], seed).numpy()
        side = min(375, round(227 / (0.5 + draws[0] * 1.5)))
        top, left = int(draws[1] * (501 - side)), int(draws[2] * (376 - side))
        expected = np.asarray(
            Image.fromarray(photo[top : top + side, left : left + side]).resize(
                (48, 48), Image.Resampling.BILINEAR
            )
        )
        expected = expected[:, ::-1] if draws[3] < 0.5 else expected
        assert np.abs(crop.astype(int) - expected).max() <= 4
        sides.append(side)
        mirrored += draws[3] < 0.5
    assert 113 <= min(sides) < 160 and 300 < max(sides) <= 375 and 5 < mirrored < 25


def test_a_small_photo_is_cropped_to_its_shorter_side():
    crop = image_ops.random_scale_crop(
        jpeg_of(smooth_picture(7, 40, 60)), 32, 0.5, 2.0, tf.constant([0, 0], tf.int64)
    )
    assert crop.shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(60, 80, (30, 40)), (80, 60, (40, 30)), (40, 40, (40, 40)), (1, 400, (1, 40))],
)
def test_the_longer_side_decides(height, width, expected):
    image = smooth_picture(3, height, width)
    resized = image_ops.resized_long_side(tf.constant(image), 40).numpy()
    assert resized.shape == (*expected, 3) and resized.dtype == np.uint8
    if (height, width) == expected:
        np.testing.assert_array_equal(resized, image)
    np.testing.assert_array_equal(
        image_ops.decoded(tf.io.encode_jpeg(image, quality=100)).shape, image.shape
    )

import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.ops.hog_blocks import hog_blocks, num_blocks


def pictures(height, width, channels=3, kind="smooth"):
    """Three pictures [3, height, width, channels] uint8."""
    random = np.random.default_rng(height + channels)
    if kind == "noise":
        return random.integers(0, 256, (3, height, width, channels)).astype(np.uint8)
    y, x = np.mgrid[:height, :width][:, None, ..., None]
    speeds, phases = (
        random.uniform(0.1, 0.4, (2, 3, 1, 1, channels)),
        random.uniform(0, 6, (3, 1, 1, channels)),
    )
    return np.round(127 + 120 * np.sin(speeds[0] * x + phases) * np.cos(speeds[1] * y)).astype(
        np.uint8
    )


def loops(image, orientations, cell, block):
    """The definition, pixel by pixel: central differences, the longest gradient of the channels,
    hard bins.
    """
    height, width, _ = image.shape
    rows, columns = height // cell, width // cell
    cells = np.zeros((rows, columns, orientations))
    values = image.astype(float)
    for y in range(rows * cell):
        for x in range(columns * cell):
            down = (
                values[y + 1, x] - values[y - 1, x]
                if 0 < y < height - 1
                else np.zeros(values.shape[2])
            )
            right = (
                values[y, x + 1] - values[y, x - 1]
                if 0 < x < width - 1
                else np.zeros(values.shape[2])
            )
            longest = np.argmax(np.hypot(right, down))
            angle = np.rad2deg(np.arctan2(down[longest], right[longest])) % 180
            cells[y // cell, x // cell, int(angle // (180 / orientations))] += (
                np.hypot(right[longest], down[longest]) / cell**2
            )
    result = np.zeros((rows - block + 1, columns - block + 1, block * block * orientations))
    for y, x in np.ndindex(result.shape[:2]):
        one = cells[y : y + block, x : x + block].ravel()
        one = np.minimum(one / np.sqrt(np.sum(one**2) + 1e-10), 0.2)
        result[y, x] = one / np.sqrt(np.sum(one**2) + 1e-10)
    return result


@pytest.mark.parametrize("kind", ["smooth", "noise"])
@pytest.mark.parametrize(
    "orientations, cell, block, size",
    [(9, 8, 2, (33, 24)), (8, 5, 3, (17, 22)), (12, 4, 1, (4, 16)), (1, 3, 2, (9, 9))],
)
def test_it_is_the_definition(kind, orientations, cell, block, size):
    images = pictures(*size, kind=kind)
    found = hog_blocks(
        tf.constant(images), orientations=orientations, pixels_per_cell=cell, cells_per_block=block
    ).numpy()
    assert (
        found.shape[1:3] == tuple(num_blocks(side, cell, block) for side in size)
        and found.dtype == np.float32
    )
    np.testing.assert_allclose(
        found, [loops(image, orientations, cell, block) for image in images], atol=1e-5
    )


@pytest.mark.parametrize("kind", ["smooth", "noise"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(
    "orientations, cell, block",
    [(9, 8, 2), (9, 8, 3), (9, 4, 2), (8, 7, 2), (7, 6, 1), (36, 16, 2), (64, 8, 2)],
)
def test_it_is_that_of_scikit_image(kind, channels, orientations, cell, block):
    feature = pytest.importorskip("skimage.feature")
    images = pictures(75, 66, channels, kind)
    found = hog_blocks(
        tf.constant(images), orientations=orientations, pixels_per_cell=cell, cells_per_block=block
    ).numpy()
    options = dict(block_norm="L2-Hys", feature_vector=False, channel_axis=-1)
    for image, ours in zip(images, found, strict=True):
        theirs = feature.hog(image, orientations, (cell, cell), (block, block), **options)
        np.testing.assert_allclose(ours, theirs.reshape(ours.shape), atol=1e-5)


def test_equal_lengths_of_several_channels_are_decided_as_scikit_image_does():
    """Every pair of gradients as long as each other, 1 and 8 beside 4 and 7: rounding decides which
    of the two is longer.
    """
    feature = pytest.importorskip("skimage.feature")
    sides = np.arange(1, 120)
    squares = (sides[:, None] ** 2 + sides**2).ravel()
    order = np.argsort(squares, kind="stable")
    equal = np.flatnonzero(np.diff(squares[order]) == 0)
    pairs = np.stack(
        [np.stack(np.divmod(order[equal + step], len(sides)), -1) + 1 for step in (0, 1)], -1
    )
    image = np.full((3 * len(pairs), 3, 2), 120, np.uint8)
    image[2::3, 1], image[1::3, 2] = 120 + pairs[:, 0], 120 + pairs[:, 1]
    theirs = feature.hog(image, 36, (3, 3), (1, 1), feature_vector=False, channel_axis=-1)
    ours = hog_blocks(
        tf.constant(image[None]), orientations=36, pixels_per_cell=3, cells_per_block=1
    )[0].numpy()
    assert len(pairs) > 1000
    np.testing.assert_allclose(ours, theirs.reshape(ours.shape), atol=1e-5)


def test_flat_images_have_no_gradients_and_a_row_does_not_depend_on_the_others():
    images = pictures(40, 40)
    images[1] = 77
    options = dict(orientations=9, pixels_per_cell=8, cells_per_block=2)
    together = hog_blocks(tf.constant(images), **options).numpy()
    assert not together[1].any()
    for position in range(3):
        np.testing.assert_array_equal(
            together[position],
            hog_blocks(tf.constant(images[position : position + 1]), **options)[0],
        )


def test_it_refuses_what_it_cannot_do():
    with pytest.raises(
        ValueError, match="15x40 pixels: smaller than a block of 2 cells of 8 pixels"
    ):
        hog_blocks(
            tf.zeros([1, 15, 40, 3], tf.uint8), orientations=9, pixels_per_cell=8, cells_per_block=2
        )
    for images, orientations in (
        (tf.zeros([1, 16, 16, 3]), 9),
        (tf.zeros([1, 16, 16, 5], tf.uint8), 9),
        (tf.zeros([1, 16, 16, 3], tf.uint8), 65),
    ):
        with pytest.raises(ValueError, match="needed"):
            hog_blocks(images, orientations=orientations, pixels_per_cell=8, cells_per_block=2)

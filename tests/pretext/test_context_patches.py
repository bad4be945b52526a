import numpy as np
import pytest
import tensorflow as tf
from conftest import jpeg_of, smooth_picture

from ccssl_tf.pretext import context_patches as lib
from ccssl_tf.pretext.context_patches import RELATIONS, ContextGeometry
from ccssl_tf.runs.errors import FlagError


def seeds(batch, epoch=0):
    return tf.constant([[epoch, index] for index in range(batch)], tf.int64)


def test_geometry_of_the_source_and_of_small_images():
    assert ContextGeometry.for_image_size(254) == ContextGeometry(254, 96, 48, 7, 150_000, 450_000)
    assert ContextGeometry.for_image_size(64) == ContextGeometry(64, 24, 12, 2, 64**2, 64**2)


@pytest.mark.parametrize("image_size", [22, 28, 32, 48, 64, 96, 127, 128, 160, 227, 254])
def test_geometry_fits(image_size):
    geometry = ContextGeometry.for_image_size(image_size)
    assert geometry.crop == 2 * geometry.patch + geometry.gap + 2 * geometry.jitter <= image_size
    assert geometry.crop**2 <= geometry.min_area and geometry.jitter >= 1


def test_too_small_images_are_refused():
    with pytest.raises(FlagError, match="^--image_size=16: too small"):
        ContextGeometry.for_image_size(16)


@pytest.mark.parametrize("shape", [(300, 400), (200, 120), (90, 700)])
def test_crops_have_the_asked_area(shape):
    """A picture whose red is the row and green the column tells how much of it a crop shows."""
    rows, columns = np.meshgrid(
        np.linspace(0, 255, shape[0]), np.linspace(0, 255, shape[1]), indexing="ij"
    )
    encoded = jpeg_of(np.stack([rows, columns, rows * 0], -1).astype(np.uint8))
    geometry = ContextGeometry.for_image_size(160)
    areas = set()
    for index in range(12):
        crop = (
            lib.crop_image(encoded, geometry, tf.constant([0, index], tf.int64))
            .numpy()
            .astype(float)
        )
        assert crop.shape == (geometry.crop, geometry.crop, 3)
        shown = [np.ptp(crop[..., 0].mean(1)) / 255, np.ptp(crop[..., 1].mean(0)) / 255]
        areas.add(geometry.crop**2 / (shown[0] * shown[1]))
    if min(shape) == 90:  # So long that the short side is enlarged to the crop instead.
        np.testing.assert_allclose(list(areas), geometry.crop**2 * 700 / 90, rtol=0.1)
    else:
        assert geometry.min_area * 0.95 < min(areas) < max(areas) < geometry.max_area * 1.05
        assert max(areas) / min(areas) > 1.5
    center, again = (lib.crop_image(encoded, geometry).numpy() for _ in range(2))
    np.testing.assert_array_equal(center, again)


def test_patches_are_cut_where_the_corners_say():
    geometry = ContextGeometry.for_image_size(64)
    images = np.random.default_rng(0).integers(0, 256, [64, 64, 64, 3], np.uint8)
    corners = lib.patch_corners(seeds(64), geometry).numpy()
    patches = lib.cut_patches(tf.constant(images), seeds(64), geometry).numpy()
    jitter = corners - np.array([[0, 0], [0, 36], [36, 0], [36, 36]])
    assert set(jitter.ravel()) == set(range(2 * geometry.jitter + 1))
    for image in range(64):
        for number, (row, column) in enumerate(corners[image]):
            np.testing.assert_array_equal(
                patches[image, number], images[image, row : row + 24, column : column + 24]
            )
    # The gap stays open whatever the jitter.
    assert (corners[:, 1, 1] - corners[:, 0, 1]).min() >= 24 + geometry.gap - 2 * geometry.jitter


@pytest.mark.parametrize("patch", [8, 24, 96])
def test_downsampling_matrices_against_bilinear_resizing(patch):
    matrices = lib.downsampling_matrices(patch)
    sizes = range(int(np.ceil(10 * patch / 96)), patch - 1)
    assert len(matrices) == 1 + len(sizes)
    np.testing.assert_array_equal(matrices[0], np.eye(patch))
    picture = smooth_picture(0, patch, patch).astype(np.float32)
    for number in (0, len(sizes) // 2, len(sizes) - 1):
        smaller = tf.image.resize(picture, [sizes[number]] * 2, antialias=False)
        expected = tf.image.resize(smaller, [patch] * 2, antialias=False)
        ours = np.einsum("pq,rs,qsc->prc", matrices[1 + number], matrices[1 + number], picture)
        np.testing.assert_allclose(ours, expected, atol=1e-2)


def test_a_third_of_patches_is_downsampled():
    patches = tf.constant(np.random.default_rng(0).uniform(0, 255, [500, 4, 24, 24, 3]), tf.float32)
    result = lib.downsample(patches, seeds(500), 0.33).numpy()
    changed = (np.abs(result - patches.numpy()) > 1e-3).any((2, 3, 4))
    np.testing.assert_allclose(changed.mean(), 0.33, atol=0.03)
    # Uniform in the number of pixels in between: from 3 to 22 a side, most of them many.
    every = np.einsum("npq,nrs,qsc->nprc", *[lib.downsampling_matrices(24)] * 2, patches[0, 0])
    repeated = (
        lib.downsample(tf.tile(patches[:1, :1], [500, 4, 1, 1, 1]), seeds(500), 1.0)
        .numpy()
        .reshape(2000, 1, -1)
    )
    side = 2 + np.argmin(np.abs(repeated - every.reshape(1, len(every), -1)).max(2), 1)
    assert set(side) <= set(range(3, 23))
    assert abs(np.median(side) - np.sqrt((3**2 + 23**2) / 2)) < 1.5
    np.testing.assert_array_equal(lib.downsample(patches, seeds(500), 0.0), patches)


def test_projection_removes_green_against_magenta():
    direction = np.array([-1.0, 2.0, -1.0])
    matrix = np.eye(3) - np.outer(direction, direction) / (direction @ direction)
    np.testing.assert_allclose(lib.PROJECTION, matrix, atol=1e-12)
    colors = np.random.default_rng(0).uniform(0, 255, [5, 3]).astype(np.float32)
    projected = lib.project_colors(tf.constant(colors)).numpy()
    np.testing.assert_allclose(projected @ direction, 0, atol=1e-3)
    np.testing.assert_allclose(projected, colors @ matrix, rtol=1e-4)


def test_colour_dropping_against_loops():
    patches = np.random.default_rng(0).uniform(0, 255, [60, 4, 8, 8, 3]).astype(np.float32)
    result = lib.drop_colors(tf.constant(patches), seeds(60)).numpy()
    kept_counts = np.zeros(3)
    for index in np.ndindex(60, 4):
        patch, ours = patches[index].astype(np.float64), result[index]
        (kept,) = [channel for channel in range(3) if ours[..., channel].std() > 20]
        kept_counts[kept] += 1
        centered = patch[..., kept] - patch[..., kept].mean()
        scale = 50 / np.sqrt((centered**2).sum() / patch.size)
        np.testing.assert_allclose(ours[..., kept], centered * scale, rtol=1e-2, atol=0.05)
        noise = np.delete(ours, kept, -1) / scale
        assert np.abs(noise).max() <= 0.51 and noise.std() > 0.2
        np.testing.assert_allclose(np.sqrt((ours**2).mean()), 50, rtol=1e-4)
    np.testing.assert_allclose(kept_counts / 240, 1 / 3, atol=0.1)


def test_pairs_lie_in_their_relations():
    order, relation = (part.numpy() for part in lib.draw_pairs(seeds(500), 3))
    assert order.shape == (500, 3, 2) and relation.shape == (500, 3)
    assert all(len(set(row)) == 3 for row in relation)
    for (first, second), number in zip(order.reshape(-1, 2), relation.ravel(), strict=True):
        assert (second // 2 - first // 2, second % 2 - first % 2) == RELATIONS[number]
    np.testing.assert_allclose(np.bincount(relation.ravel(), minlength=8) / 1500, 1 / 8, atol=0.03)
    # All twelve pairs are asked.
    assert len({tuple(pair) for pair in order.reshape(-1, 2)}) == 12
    assert sorted(lib.draw_pairs(seeds(1), 8)[1].numpy()[0]) == list(range(8))

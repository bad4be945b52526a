import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.pretext import tiles as lib
from ccssl_tf.pretext.tiles import TileGeometry
from ccssl_tf.runs.errors import FlagError


def seeds(batch, epoch=0):
    return tf.constant([[epoch, index] for index in range(batch)], tf.int64)


def test_geometry_of_the_paper_and_of_small_images():
    assert TileGeometry.for_image_size(255) == TileGeometry(256, 255, 85, 64, 18, 2)
    assert TileGeometry.for_image_size(64) == TileGeometry(64, 60, 20, 16, 3, 1)


def test_geometry_fits_at_every_size():
    for image_size in range(28, 300):
        geometry = TileGeometry.for_image_size(image_size)
        assert geometry.crop == 3 * geometry.cell <= geometry.short_side, image_size
        assert geometry.tile + geometry.tile_jitter + geometry.channel_jitter <= geometry.cell, (
            image_size
        )
        assert geometry.tile_jitter >= 0, image_size


def test_too_small_images_are_refused():
    with pytest.raises(FlagError, match="^--image_size=24"):
        TileGeometry.for_image_size(24)


def coordinate_images(batch, crop):
    """Images of row, column and image number, so that a tile tells where it came from."""
    rows, columns = np.meshgrid(np.arange(crop), np.arange(crop), indexing="ij")
    return np.stack(
        [np.stack([rows, columns, np.full_like(rows, number)], -1) for number in range(batch)]
    ).astype(np.uint8)


def test_tiles_are_cut_from_their_cells_by_channel():
    geometry = TileGeometry.for_image_size(64)
    images = coordinate_images(64, geometry.crop)
    tiles = lib.cut_tiles(tf.constant(images), seeds(64), geometry).numpy()
    assert tiles.shape == (64, 9, 16, 16, 3)
    offsets = set()
    for number in range(64):
        for slot in range(9):
            tile = tiles[number, slot].astype(int)
            row, column = divmod(slot, 3)
            top, left = tile[0, 0, 0] - row * 20, tile[0, 0, 1] - column * 20
            assert 0 <= top <= 4 and 0 <= left <= 4
            offsets |= {("row", top), ("column", left)}
            np.testing.assert_array_equal(
                tile[..., 0], np.broadcast_to(tile[0, 0, 0] + np.arange(16)[:, None], (16, 16))
            )
            np.testing.assert_array_equal(
                tile[..., 1], np.broadcast_to(tile[0, 0, 1] + np.arange(16)[None], (16, 16))
            )
            assert (tile[..., 2] == number).all()
    assert offsets == {(axis, offset) for axis in ("row", "column") for offset in range(5)}


def test_channels_are_apart_by_at_most_the_channel_jitter():
    geometry = TileGeometry.for_image_size(255)
    ramp = np.broadcast_to(
        np.arange(255, dtype=np.uint8)[None, :, None, None], (32, 255, 255, 3)
    ).copy()
    tiles = lib.cut_tiles(tf.constant(ramp), seeds(32), geometry).numpy().astype(int)
    tops = tiles[:, :, 0, 0, :]
    spread = tops.max(-1) - tops.min(-1)
    assert spread.max() == 2 and spread.min() == 0


def test_occlusion_counts_slots_and_partners():
    batch = 800
    tiles = np.broadcast_to(np.arange(batch)[:, None] * 9 + np.arange(9)[None], (batch, 9)).reshape(
        batch, 9, 1, 1, 1
    )
    result, occluded = lib.occlude(tf.constant(tiles, tf.float32), seeds(batch))
    result, occluded = result.numpy().astype(int).reshape(batch, 9), occluded.numpy()
    counts = np.bincount(occluded.sum(1), minlength=4)
    assert counts[3] == 0
    np.testing.assert_allclose(counts[:3] / batch, 1 / 3, atol=0.07)
    slots = np.zeros(9)
    for number in range(batch):
        np.testing.assert_array_equal(
            result[number][~occluded[number]] % 9, np.flatnonzero(~occluded[number])
        )
        assert (result[number][~occluded[number]] // 9 == number).all()
        foreign = result[number][occluded[number]]
        if len(foreign):
            images = set(foreign // 9)
            assert len(images) == 1 and number not in images
            assert images.pop() // lib.GROUP == number // lib.GROUP
            assert len(set(foreign % 9)) == len(foreign)
        slots += occluded[number]
    np.testing.assert_allclose(slots / slots.sum(), 1 / 9, atol=0.04)


def test_puzzles_do_not_depend_on_how_a_batch_is_split():
    geometry = TileGeometry.for_image_size(64)
    images = tf.constant(np.random.default_rng(0).integers(0, 256, [16, 60, 60, 3], np.uint8))
    seed = seeds(16, epoch=7)

    def puzzle(images, seed):
        tiles, occluded = lib.occlude(lib.cut_tiles(images, seed, geometry), seed)
        return lib.gray(tf.cast(tiles, tf.float32), seed, 0.7), occluded

    whole, halves = (
        puzzle(images, seed),
        [puzzle(images[half], seed[half]) for half in (slice(0, 8), slice(8, 16))],
    )
    for ours, parts in zip(whole, zip(*halves, strict=True), strict=True):
        np.testing.assert_array_equal(ours, tf.concat(parts, 0))


def test_a_batch_smaller_than_a_group():
    tiles = tf.reshape(tf.range(3 * 9, dtype=tf.float32), [3, 9, 1, 1, 1])
    result, occluded = lib.occlude(tiles, seeds(3))
    foreign = result.numpy().reshape(3, 9)[occluded.numpy()] // 9
    owners = np.broadcast_to(np.arange(3)[:, None], (3, 9))[occluded.numpy()]
    assert (foreign != owners).all()


def test_gray_is_drawn_once_per_puzzle():
    tiles = tf.constant(np.random.default_rng(0).uniform(0, 255, [500, 9, 2, 2, 3]), tf.float32)
    result = lib.gray(tiles, seeds(500), 0.7).numpy()
    is_gray = np.ptp(result, axis=-1).max((2, 3)) < 1e-3
    assert (is_gray.all(1) | (~is_gray).all(1)).all()
    np.testing.assert_allclose(is_gray[:, 0].mean(), 0.7, atol=0.07)
    np.testing.assert_allclose(
        result[is_gray[:, 0]][..., 0], tiles.numpy()[is_gray[:, 0]].mean(-1), rtol=1e-5
    )
    np.testing.assert_array_equal(result[~is_gray[:, 0]], tiles.numpy()[~is_gray[:, 0]])


def test_normalisation_against_numpy():
    tiles = np.random.default_rng(0).uniform(0, 255, [2, 9, 4, 4, 3]).astype(np.float32)
    result = lib.normalize_tiles(tf.constant(tiles)).numpy()
    for index in np.ndindex(2, 9):
        tile = tiles[index].astype(np.float64)
        np.testing.assert_allclose(result[index], (tile - tile.mean()) / tile.std() * 50, atol=1e-3)
    assert np.isfinite(lib.normalize_tiles(tf.fill([1, 9, 4, 4, 3], 7.0))).all()


def test_windows_against_loops():
    images = np.random.default_rng(0).integers(0, 256, [3, 11, 13, 3], np.uint8)
    start = np.random.default_rng(1).integers(0, 6, [3, 2, 3, 2])
    windows = lib.cut_windows(tf.constant(images), tf.constant(start, tf.int32), 5).numpy()
    for image, window, channel in np.ndindex(3, 2, 3):
        row, column = start[image, window, channel]
        expected = images[image, row : row + 5, column : column + 5, channel]
        np.testing.assert_array_equal(windows[image, window, ..., channel], expected)

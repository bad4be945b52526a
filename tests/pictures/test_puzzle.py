import numpy as np

from ccssl_tf.pictures.puzzle import draw_puzzles


def test_solution_picture_puts_every_tile_back():
    """With the right answer the solution shows tile s in slot s, framed."""
    task_geometry = type("G", (), dict(tile=8, crop=30))
    tiles = np.stack(
        [
            np.arange(9)[:, None, None, None] * 10.0
            + np.arange(8)[:, None, None]
            + np.zeros([9, 8, 8, 3])
        ]
    )
    order = np.array([[3, 1, 4, 0, 5, 8, 2, 6, 7]])
    images = np.zeros([1, 30, 30, 3], np.uint8)
    picture = draw_puzzles(images, tiles, np.zeros([1, 9], bool), order, order, task_geometry)
    side = picture.shape[0] // 3
    solution = picture[2 * side :]
    green = (solution == (40, 160, 60)).all(-1)
    assert green.any()
    wrong = draw_puzzles(
        images, tiles, np.zeros([1, 9], bool), order, np.roll(order, 1, 1), task_geometry
    )
    assert not (wrong[2 * side :] == (40, 160, 60)).all(-1).any()


def test_foreign_tiles_are_framed_where_they_are_shown():
    geometry = type("G", (), dict(tile=8, crop=30))
    tiles = np.random.default_rng(0).normal(size=[1, 9, 8, 8, 3])
    occluded = np.zeros([1, 9], bool)
    occluded[0, 4] = True
    order = np.array([[4, 1, 2, 3, 0, 5, 6, 7, 8]])
    picture = draw_puzzles(
        np.zeros([1, 30, 30, 3], np.uint8), tiles, occluded, order, order, geometry
    )
    side = picture.shape[0] // 3
    rows, columns = np.nonzero((picture[side : 2 * side] == (220, 40, 40)).all(-1))
    # Tile 4 is shown in slot 0: the upper left corner.
    assert rows.max() < side / 3 and columns.max() < side / 3

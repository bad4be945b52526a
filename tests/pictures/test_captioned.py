import numpy as np

from ccssl_tf.pictures.captioned import PLAIN, RIGHT, WRONG, draw_columns, draw_rows, verdict


def test_pictures_and_coloured_lines_lie_where_they_should():
    red, blue = (
        np.full([64, 64, 3], (255, 0, 0), np.uint8),
        np.full([300, 300, 3], (0, 0, 255), np.uint8),
    )
    columns = [
        [(red, ("asked", PLAIN)), (blue, ("right", verdict(True)), ("again", PLAIN))],
        [(blue, ("x" * 99, PLAIN)), (red,)],
    ]
    sheet = draw_columns(columns)
    assert sheet.dtype == np.uint8 and sheet.shape[2] == 3
    height, width = sheet.shape[0] // 2, sheet.shape[1] // 2
    for row, column, color in (
        (0, 0, (255, 0, 0)),
        (0, 1, (0, 0, 255)),
        (1, 0, (0, 0, 255)),
        (1, 1, (255, 0, 0)),
    ):
        np.testing.assert_array_equal(sheet[row * height + 60, column * width + 60], color)
    below = sheet[height + 130 : height + 148, 4:132].reshape(-1, 3)
    assert (below == RIGHT).all(1).any() and not (below == WRONG).all(1).any()
    assert verdict(False) == WRONG
    # A line that is too long ends at its picture's edge.
    assert (sheet[130:150, -4:] == 255).all()


def test_small_pictures_keep_their_pixels():
    checks = np.indices([2, 2]).sum(0) % 2 * 255
    sheet = draw_columns([[(np.repeat(checks[..., None], 3, -1).astype(np.uint8),)]])
    assert set(np.unique(sheet[4:132, 4:132])) == {0, 255}


def test_rows_are_columns_with_the_names_of_their_rows():
    pictures = np.random.default_rng(0).integers(0, 256, [3, 2, 32, 32, 3], np.uint8)
    rows = dict(zip(("in", "asked", "answered"), pictures, strict=True))
    columns = [[(row[number], (name, PLAIN)) for name, row in rows.items()] for number in range(2)]
    np.testing.assert_array_equal(draw_rows(rows), draw_columns(columns))

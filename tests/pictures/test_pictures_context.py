import numpy as np

from ccssl_tf.pictures.context import draw_context

# Rows and columns by which the second patch lies below and right of the first.
_STEPS = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if (row, column) != (0, 0)]
_BLUE, _ORANGE, _GREEN, _RED = (40, 90, 220), (230, 140, 20), (40, 160, 60), (220, 40, 40)


def draw(relation, answer):
    images = np.zeros([1, 64, 64, 3], np.uint8)
    pairs = np.random.default_rng(0).normal(size=[1, 2, 24, 24, 3])
    corners = np.array([[[0, 0], [40, 38]]])
    return draw_context(images, pairs, corners, np.array([relation]), np.array([answer]))


def where(picture, color):
    """Mean row and column of the pixels of a colour in the board, the lowest third."""
    board = picture[-(3 * 24 + 6 * 3) :]
    rows, columns = np.nonzero((board == color).all(-1))
    return np.array([rows.mean(), columns.mean()]) if len(rows) else None


def test_the_right_answer_is_green_and_in_its_place():
    for relation in _STEPS:
        picture = draw(relation, relation)
        assert where(picture, _RED) is None and where(picture, _ORANGE) is None
        np.testing.assert_allclose(
            where(picture, _GREEN) - where(picture, _BLUE), np.array(relation) * 27, atol=1
        )


def test_a_wrong_answer_is_red_and_the_right_place_marked():
    picture = draw(_STEPS[0], _STEPS[7])
    assert where(picture, _GREEN) is None
    assert (where(picture, _RED) - where(picture, _BLUE) > 20).all()
    assert (where(picture, _ORANGE) - where(picture, _BLUE) < -20).all()


def test_the_image_shows_both_windows():
    picture = draw(_STEPS[7], _STEPS[7])[: 64 + 3]
    blue, orange = ((picture == color).all(-1) for color in (_BLUE, _ORANGE))
    assert np.argwhere(blue).max(0)[0] < np.argwhere(orange).min(0)[0]

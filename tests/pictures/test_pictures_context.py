import numpy as np

from ccssl_tf.pictures.context import draw_context
from ccssl_tf.pretext.context_patches import RELATIONS

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
    for number, relation in enumerate(RELATIONS):
        picture = draw(number, number)
        assert where(picture, _RED) is None and where(picture, _ORANGE) is None
        np.testing.assert_allclose(
            where(picture, _GREEN) - where(picture, _BLUE), np.array(relation) * 27, atol=1
        )


def test_a_wrong_answer_is_red_and_the_right_place_marked():
    picture = draw(0, 7)
    assert where(picture, _GREEN) is None
    assert (where(picture, _RED) - where(picture, _BLUE) > 20).all()
    assert (where(picture, _ORANGE) - where(picture, _BLUE) < -20).all()


def test_the_image_shows_both_windows():
    picture = draw(7, 7)[: 64 + 3]
    blue, orange = ((picture == color).all(-1) for color in (_BLUE, _ORANGE))
    assert np.argwhere(blue).max(0)[0] < np.argwhere(orange).min(0)[0]

"""Draws pairs of patches beside where the model puts the second one, seen from the first."""

import numpy as np

from ccssl_tf.pictures.puzzle import framed, lay_out, visible

_FIRST, _SECOND, _RIGHT, _WRONG = (40, 90, 220), (230, 140, 20), (40, 160, 60), (220, 40, 40)
_EMPTY = 225


def draw_context(images, pairs, corners, relation, answer) -> np.ndarray:
    """Draws one column a pair: the image, its two patches and the model's answer.

    The patches are as the network sees them. In the image and in the pair the first patch has a
    blue frame, the second an orange one. The answer is a 3x3 board with the first patch in the
    middle and the second where the model puts it, framed green if that is right, red if not; then
    its right place is framed orange.

    Args:
      images: [B, crop, crop, 3] uint8.
      pairs: [B, 2, p, p, 3] float32, first and second patch.
      corners: [B, 2, 2], row and column of their upper left corners in the image.
      relation: [B, 2], rows (-1, 0, 1) and columns by which the second patch lies below and right
        of the first.
      answer: [B, 2], the same as the model answers.

    Returns:
      [H, W, 3] uint8.
    """
    size = pairs.shape[2]
    gap = max(1, size // 8)
    columns = []
    for image, pair, corner, right, given in zip(
        images, visible(pairs), corners, relation, answer, strict=True
    ):
        image = image.copy()
        for (row, column), color in zip(corner, (_FIRST, _SECOND), strict=True):
            window = np.s_[row : row + size, column : column + size]
            image[window] = framed(image[window], color)
        shown = lay_out([framed(pair[0], _FIRST), framed(pair[1], _SECOND)], 2, gap)
        board = [np.full_like(pair[0], _EMPTY) for _ in range(9)]
        board[4] = framed(pair[0], _FIRST)
        board[_cell(right)] = framed(board[_cell(right)], _SECOND)
        is_right = _cell(given) == _cell(right)
        board[_cell(given)] = framed(pair[1], _RIGHT if is_right else _WRONG)
        rows = [image, shown, lay_out(board, 3, gap)]
        width = max(row.shape[1] for row in rows) + gap
        columns.append(
            np.concatenate([_centered(row, row.shape[0] + gap, width) for row in rows], 0)
        )
    return np.concatenate(columns, 1)


def _cell(relation):
    """The cell of a 3x3 board, row by row, that lies in this relation to the middle one."""
    row, column = relation
    return 3 * (1 + row) + 1 + column


def _centered(picture, height, width):
    """Puts a picture in the middle of a white one."""
    canvas = np.full([height, width, 3], 255, np.uint8)
    top, left = (height - picture.shape[0]) // 2, (width - picture.shape[1]) // 2
    canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return canvas

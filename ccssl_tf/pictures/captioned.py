"""Draws examples side by side with lines of text below the pictures.

The lines say what was asked and what the model answered.
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

RIGHT, WRONG, PLAIN = (30, 130, 50), (200, 40, 40), (60, 60, 60)
_SIDE, _GAP, _LINE_HEIGHT, _FONT_SIZE = 128, 4, 15, 11


def verdict(is_right) -> tuple[int, int, int]:
    """Returns the colour of a right or a wrong answer."""
    return RIGHT if is_right else WRONG


def draw_columns(columns) -> np.ndarray:
    """Draws one column an example.

    Args:
      columns: for each example equally many cells (picture [h, w, 3] uint8, then (text, colour) for
        every line below it). Pictures are drawn 128 pixels high and wide, lines cut off where they
        are wider.

    Returns:
      [H, W, 3] uint8.
    """
    font = ImageFont.load_default(_FONT_SIZE)
    num_lines = max(len(cell) - 1 for cells in columns for cell in cells)
    height = _SIDE + num_lines * _LINE_HEIGHT
    sheet = Image.new(
        "RGB",
        (len(columns) * (_SIDE + _GAP) + _GAP, len(columns[0]) * (height + _GAP) + _GAP),
        (255, 255, 255),
    )
    for column, cells in enumerate(columns):
        for row, (picture, *lines) in enumerate(cells):
            cell = Image.new("RGB", (_SIDE, height), (255, 255, 255))
            # The pixels of small pictures stay visible as squares.
            method = (
                Image.Resampling.NEAREST
                if max(picture.shape[:2]) <= _SIDE
                else Image.Resampling.LANCZOS
            )
            cell.paste(Image.fromarray(picture).resize((_SIDE, _SIDE), method), (0, 0))
            for number, (text, color) in enumerate(lines):
                ImageDraw.Draw(cell).text(
                    (1, _SIDE + 1 + number * _LINE_HEIGHT), text, fill=color, font=font
                )
            sheet.paste(cell, (_GAP + column * (_SIDE + _GAP), _GAP + row * (height + _GAP)))
    return np.asarray(sheet)


def draw_rows(rows) -> np.ndarray:
    """Draws rows of pictures, one column an example, each with the name of its row below it.

    Args:
      rows: name -> pictures [B, h, w, 3] uint8.

    Returns:
      [H, W, 3] uint8.
    """
    named = [[(picture, (name, PLAIN)) for picture in row] for name, row in rows.items()]
    return draw_columns(list(zip(*named, strict=True)))

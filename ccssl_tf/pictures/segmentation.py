"""Segmentations as pictures.

VOC's colours, palette PNGs as the devkit reads them, classes drawn over photos.
"""

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ccssl_tf.data.voc_colors import VOID, voc_colors

_HEIGHT, _GAP, _LINE_HEIGHT, _FONT_SIZE, _OPACITY = 160, 4, 15, 11, 0.65


def encode_class_map(classes: np.ndarray) -> bytes:
    """Returns the PNG of a class map [H, W] uint8, one byte a pixel.

    Its palette holds VOC's colours.
    """
    picture = Image.fromarray(classes).convert("P")
    picture.putdata(classes.ravel())
    picture.putpalette(voc_colors().tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def draw_over(photo: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Returns the photo [H, W, 3] uint8 with its classes [H, W] in their colours over it.

    Background shows the photo dimmed, void is white.
    """
    colors = voc_colors()[classes].astype(np.float32)
    colors[classes == VOID] = 255
    opacity = np.where(classes == 0, 0.3, _OPACITY)[..., None]
    return np.round(photo * (1 - opacity) + colors * opacity).astype(np.uint8)


def draw_rows(rows, class_names: list[str]) -> np.ndarray:
    """Draws one row an image: photo, truth and prediction.

    Below them are the classes of either in their colours.

    Args:
      rows: of (photo [H, W, 3] uint8, truth [H, W], prediction [H, W]).
      class_names: background first.

    Returns:
      [height, width, 3] uint8.
    """
    font, drawn = ImageFont.load_default(_FONT_SIZE), []
    for photo, truth, prediction in rows:
        width = round(_HEIGHT * photo.shape[1] / photo.shape[0])
        row = Image.new("RGB", (3 * (width + _GAP), _HEIGHT + _LINE_HEIGHT + _GAP), (255, 255, 255))
        for column, picture in enumerate(
            (photo, draw_over(photo, truth), draw_over(photo, prediction))
        ):
            row.paste(
                Image.fromarray(picture).resize((width, _HEIGHT), Image.Resampling.LANCZOS),
                (column * (width + _GAP), 0),
            )
        for column, classes in ((1, truth), (2, prediction)):
            x, present = (
                column * (width + _GAP),
                [name for name in np.unique(classes) if 0 < name < len(class_names)],
            )
            for name in present:
                color = tuple(int(value) for value in voc_colors()[name])
                ImageDraw.Draw(row).text((x, _HEIGHT), class_names[name], fill=color, font=font)
                x += int(font.getlength(class_names[name])) + 6
        drawn.append(row)
    sheet = Image.new(
        "RGB", (max(row.width for row in drawn), sum(row.height for row in drawn)), (255, 255, 255)
    )
    y = 0
    for row in drawn:
        sheet.paste(row, (0, y))
        y += row.height
    return np.asarray(sheet)

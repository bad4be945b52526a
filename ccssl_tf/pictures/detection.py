"""Detections drawn on photos, beside the objects that are there."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_SIDE, _GAP, _FONT_SIZE, _COLUMNS = 260, 6, 12, 4
_TRUTH, _DETECTION = (
    (255, 255, 255),
    ((230, 40, 40), (40, 110, 230), (240, 150, 20), (150, 60, 200), (20, 150, 90)),
)
_MIN_SCORE, _MAX_DETECTIONS = 0.3, 5


def draw_detections(photos: list, class_names: list[str]) -> np.ndarray:
    """Draws the objects of each photo in thin white, and its surest detections in colour.

    Class and score are written beside a detection. Those of a score of at least 0.3 are drawn, at
    most five, and the surest in any case.

    Args:
      photos: (image [h, w, 3] uint8, objects [G, 4] in pixels from 0, their classes [G], its
        `Detections`).
      class_names: [C].

    Returns:
      [H, W, 3] uint8.
    """
    rows = -(-len(photos) // _COLUMNS)
    sheet = Image.new(
        "RGB",
        (min(len(photos), _COLUMNS) * (_SIDE + _GAP) + _GAP, rows * (_SIDE + _GAP) + _GAP),
        (60, 60, 60),
    )
    for number, photo in enumerate(photos):
        place = (
            _GAP + number % _COLUMNS * (_SIDE + _GAP),
            _GAP + number // _COLUMNS * (_SIDE + _GAP),
        )
        sheet.paste(_drawn(*photo, class_names), place)
    return np.asarray(sheet)


def _drawn(image, truths, labels, detections, class_names):
    """One photo, its longer side _SIDE pixels."""
    scale = _SIDE / max(image.shape[:2])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    photo = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)
    draw, font = ImageDraw.Draw(photo), ImageFont.load_default(_FONT_SIZE)
    for box in truths:
        draw.rectangle(_scaled(box, scale), outline=_TRUTH)
    order = np.argsort(-detections.scores, kind="stable")[:_MAX_DETECTIONS]
    kept = [
        row for rank, row in enumerate(order) if rank == 0 or detections.scores[row] >= _MIN_SCORE
    ]
    for row in reversed(kept):
        color = _DETECTION[int(detections.classes[row]) % len(_DETECTION)]
        box = _scaled(detections.boxes[row], scale)
        draw.rectangle(box, outline=color, width=2)
        text = f"{class_names[detections.classes[row]]} {detections.scores[row]:.2f}"
        corner = box[0] + 3, max(box[1], 0) + 2
        draw.rectangle(draw.textbbox(corner, text, font), fill=color)
        draw.text(corner, text, (255, 255, 255), font)
    names = ", ".join(sorted({class_names[label] for label in labels}))
    corner = 3, size[1] - _FONT_SIZE - 4
    draw.rectangle(draw.textbbox(corner, names, font), fill=(0, 0, 0))
    draw.text(corner, names, _TRUTH, font)
    return photo


def _scaled(box, scale):
    """Corners in the picture of a box whose last pixel is included."""
    return [
        float(box[0]) * scale,
        float(box[1]) * scale,
        (float(box[2]) + 1) * scale - 1,
        (float(box[3]) + 1) * scale - 1,
    ]

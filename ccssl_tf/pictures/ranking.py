"""Ranked images: for each class the photos a classifier is surest of."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ccssl_tf.data import image_ops
from ccssl_tf.data.image_facts import read_image_facts
from ccssl_tf.data.manifest import Manifest

_SIDE, _FRAME, _GAP, _FONT_SIZE = 96, 3, 4, 11
_THERE, _NOT_THERE, _IGNORED = (30, 130, 50), (200, 40, 40), (150, 150, 150)


def draw_rankings(
    data_dir,
    split: str,
    class_names: list[str],
    scores: np.ndarray,
    presence: np.ndarray,
    num_images: int = 8,
) -> np.ndarray:
    """Draws a row for each class: the first photos of its ranking.

    They are framed green where the class is there, red where not, grey if ignored.

    Args:
      data_dir: image shards.
      split: what was ranked.
      class_names: [C].
      scores: [N, C] by image index.
      presence: [N, C], 1, -1, or 0 for ignored.
      num_images: a row.

    Returns:
      [H, W, 3] uint8.
    """
    first = np.argsort(-scores, axis=0, kind="stable")[:num_images]
    images = read_image_facts(data_dir, split, Manifest.read(data_dir, "images").fingerprint(split))
    cell = _SIDE + 2 * _FRAME + _GAP
    height = cell + _FONT_SIZE + _GAP
    sheet = Image.new("RGB", (len(first) * cell + _GAP, len(class_names) * height), (255, 255, 255))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT_SIZE)
    for number, name in enumerate(class_names):
        top = number * height
        counts = f"{(presence[:, number] > 0).sum()} of {(presence[:, number] != 0).sum()} photos"
        draw.text((_GAP, top + 1), f"{name} ({counts})", (60, 60, 60), font)
        for rank, index in enumerate(first[:, number].tolist()):
            state = presence[index, number]
            framed = Image.new(
                "RGB",
                (_SIDE + 2 * _FRAME,) * 2,
                _THERE if state > 0 else _NOT_THERE if state < 0 else _IGNORED,
            )
            framed.paste(
                Image.fromarray(image_ops.whole_image(images.encoded(index), _SIDE).numpy()),
                (_FRAME, _FRAME),
            )
            sheet.paste(framed, (_GAP + rank * cell, top + _FONT_SIZE + _GAP))
    return np.asarray(sheet)

"""The confusion matrix of an evaluation as a picture.

There is a row for each class, a column for each answer.
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ccssl_tf.data.pipeline import Epoch

# Counts of so many classes still fit the memory.
MAX_CLASSES = 2_000
_MAX_IMAGES = 20_000
_MAX_SHOWN = 16
# The sheet is drawn twice as large as it is shown.
_FONT_SIZE, _LINE, _GAP, _CELL, _MAX_LETTERS = 22, 32, 12, 64, 20
_HEAD = "rows: the class, columns: the answer; % of the row"
_FULL = np.array([16, 78, 139])


def confusion_pictures(task, class_names: list[str], answer, model=None) -> dict[str, np.ndarray]:
    """Returns the picture `confusion` over the held-out images (the first 20,000).

    There is none, {}, where there are more than 2,000 classes.

    Args:
      task: one with a held-out split, whose batches have `label` and `weight`.
      class_names: of the classes.
      answer: maps a batch to {name: classes answered [B]}; that of the most right answers is drawn.
      model: whose batches they are, where the task's batches depend on it.
    """
    count = len(class_names)
    if count > MAX_CLASSES:
        return {}
    matrices: dict[str, np.ndarray] = {}
    batch_size = task.settings.eval_batch_size
    batches = task.dataset(task.eval_split, Epoch(batch_size, training=False), model)
    for batch in batches.take(_MAX_IMAGES // batch_size):
        counted = np.asarray(batch["weight"]) > 0
        for name, answers in answer(batch).items():
            matrix = matrices.setdefault(name, np.zeros([count, count], np.int64))
            cells = np.asarray(batch["label"])[counted], np.asarray(answers)[counted]
            np.add.at(matrix, cells, 1)
    best = max(matrices, key=lambda name: np.trace(matrices[name]))
    return dict(confusion=draw_confusion(matrices[best], class_names, best))


def draw_confusion(matrix: np.ndarray, class_names: list[str], title: str = "") -> np.ndarray:
    """Draws a confusion matrix, each row in % of its class.

    Of more than 16 classes the 15 that are most often taken for others, or others for them, are
    shown, and the rest as one.

    Args:
      matrix: [C, C] counts, row: the class, column: the answer.
      class_names: [C]; long ones are cut off.
      title: one line above.

    Returns:
      [H, W, 3] uint8.

    >>> draw_confusion(np.eye(2), ["cat", "dog"]).shape
    (260, 520, 3)
    """
    right, total = np.trace(matrix) / max(matrix.sum(), 1), matrix.sum()
    font = ImageFont.load_default(_FONT_SIZE)
    matrix, names = _most_confused(matrix, [_shortened(name) for name in class_names])
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    head = [f"{title}: {right:.1%} of {total:,.0f} right".removeprefix(": "), _HEAD]
    margin = round(max(map(font.getlength, names))) + 2 * _GAP
    side, left, top = _CELL * len(names), margin, margin + _LINE * len(head)
    width = max(left + side, round(max(map(font.getlength, head))) + _GAP) + 2
    sheet = Image.new("RGB", (width, top + side + 2), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(head):
        draw.text((4, 4 + number * _LINE), line, (0, 0, 0), font)
    # The names of the columns read upwards: they are written lying and then turned.
    lying = Image.new("RGB", (margin, side), (255, 255, 255))
    for row, name in enumerate(names):
        middle = row * _CELL + _CELL // 2
        ink = (40, 40, 40)
        draw.text((left - _GAP, top + middle), name, ink, font, anchor="rm")
        ImageDraw.Draw(lying).text((_GAP, middle), name, ink, font, anchor="lm")
        for column, share in enumerate(shares[row]):
            _draw_cell(draw, (left + column * _CELL, top + row * _CELL), float(share), font)
    sheet.paste(lying.transpose(Image.Transpose.ROTATE_90), (left, top - margin))
    return np.asarray(sheet)


def _draw_cell(draw: ImageDraw.ImageDraw, corner: tuple[int, int], share: float, font) -> None:
    """A square as dark as the share, and the share in %, left out below half a percent."""
    red, green, blue = (255 - share * (255 - _FULL)).round().astype(int).tolist()
    ends = [*corner, corner[0] + _CELL, corner[1] + _CELL]
    draw.rectangle(ends, fill=(red, green, blue), outline=(200, 200, 200))
    text = f"{100 * share:.0f}"
    if text != "0":
        ink = (255, 255, 255) if share > 0.5 else (40, 40, 40)
        centre = corner[0] + _CELL // 2, corner[1] + _CELL // 2
        draw.text(centre, text, ink, font, anchor="mm")


def _shortened(name: str) -> str:
    return name if len(name) <= _MAX_LETTERS else f"{name[: _MAX_LETTERS - 1]}…"


def _most_confused(matrix: np.ndarray, names: list[str]) -> tuple[np.ndarray, list[str]]:
    """Returns the matrix and the names of the classes to show, the last one all others."""
    if len(names) <= _MAX_SHOWN:
        return matrix, list(names)
    wrong = matrix.sum(0) + matrix.sum(1) - 2 * np.diag(matrix)
    shown = np.sort(np.argsort(-wrong, kind="stable")[: _MAX_SHOWN - 1])
    group = np.full(len(names), _MAX_SHOWN - 1)
    group[shown] = np.arange(len(shown))
    together = np.zeros([_MAX_SHOWN, _MAX_SHOWN], matrix.dtype)
    np.add.at(together, (group[:, None], group[None, :]), matrix)
    return together, [names[one] for one in shown] + [f"{len(names) - len(shown)} others"]

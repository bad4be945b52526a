"""The confusion matrix of an evaluation as a picture.

There is a row for each class, a column for each answer.
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ccssl_tf.data.pipeline import Epoch

MAX_CLASSES = 60
_MAX_IMAGES = 20_000
_FONT_SIZE, _MARGIN, _SIDE = 11, 120, 660
_FULL = np.array([16, 78, 139])


def confusion_pictures(task, class_names: list[str], answer, model=None) -> dict[str, np.ndarray]:
    """Returns the picture `confusion` over the held-out images (the first 20,000).

    There is none, {}, where there are more than 60 classes.

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
    """Draws a confusion matrix, each row as shares of its class.

    Args:
      matrix: [C, C] counts, row: the class, column: the answer.
      class_names: [C]; long ones are cut off.
      title: one line above.

    Returns:
      [H, W, 3] uint8.
    """
    count, font = len(class_names), ImageFont.load_default(_FONT_SIZE)
    cell = max(_SIDE // count, 4)
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    pixels = 255 - shares[..., None] * (255 - _FULL)
    top = _MARGIN + 20
    sheet = Image.new("RGB", (_MARGIN + cell * count + 2, top + cell * count + 2), (255, 255, 255))
    squares = Image.fromarray(pixels.round().astype(np.uint8)).resize(
        (cell * count, cell * count), Image.Resampling.NEAREST
    )
    sheet.paste(squares, (_MARGIN, top))
    draw = ImageDraw.Draw(sheet)
    draw.rectangle(
        [_MARGIN - 1, top - 1, _MARGIN + cell * count, top + cell * count], outline=(150, 150, 150)
    )
    right = np.trace(matrix) / max(matrix.sum(), 1)
    head = f"{title}: {right:.1%} of {matrix.sum()} right; rows: the class, columns: the answer"
    draw.text((2, 2), head.removeprefix(": "), (0, 0, 0), font)
    names = Image.new("RGB", (_MARGIN - 4, cell * count), (255, 255, 255))
    for number, name in enumerate(class_names):
        ImageDraw.Draw(names).text(
            (0, number * cell + (cell - _FONT_SIZE) // 2 - 1), name[:18], (60, 60, 60), font
        )
    sheet.paste(names, (2, top))
    # Above the columns the same names, turned so that they read upwards from their column.
    sheet.paste(names.rotate(90, expand=True), (_MARGIN, top - names.width - 2))
    return np.asarray(sheet)

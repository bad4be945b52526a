import numpy as np
import tensorflow as tf
from PIL import ImageFont

from ccssl_tf.data.pipeline import Epoch
from ccssl_tf.pictures.confusion import _most_confused, confusion_pictures, draw_confusion
from ccssl_tf.task import TaskSettings


class Held:
    """Two batches of a held-out split; the last two examples fill the second one up."""

    eval_split, settings = "val", TaskSettings(data_dir="images", eval_batch_size=4)

    def dataset(self, split, epoch, model=None):
        assert (split, epoch) == ("val", Epoch(4, training=False))
        batches = dict(
            label=[[0, 1, 2, 2], [1, 1, 0, 0]],
            weight=[[1.0] * 4, [1.0, 1.0, 0.0, 0.0]],
            answer=[[0, 1, 2, 1], [1, 1, 1, 1]],
        )
        return tf.data.Dataset.from_tensor_slices(batches)


def test_the_matrix_of_the_better_answers_is_drawn(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "ccssl_tf.pictures.confusion.draw_confusion", lambda *arguments: drawn.append(arguments)
    )
    confusion_pictures(
        Held(),
        ["a", "b", "c"],
        lambda batch: dict(worse=batch["answer"] * 0, better=batch["answer"]),
    )
    matrix, names, title = drawn[0]
    np.testing.assert_array_equal(matrix, [[1, 0, 0], [0, 3, 0], [0, 1, 1]])
    assert names == ["a", "b", "c"] and title == "better"


def test_many_classes_are_not_drawn():
    assert confusion_pictures(Held(), ["x"] * 2001, None) == {}


def test_cells_are_as_dark_as_the_share_of_their_row():
    picture = draw_confusion(np.array([[4, 0], [1, 3]]), ["first", "second"], "conv3")
    assert picture.dtype == np.uint8
    # The ground of a cell is beside its number; the cells of a row are 64 pixels apart.
    left = 2 * 12 + round(ImageFont.load_default(22).getlength("second"))
    dark = picture[[-126, -62]][:, [left + 4, left + 68]].astype(int).sum(-1)
    assert dark[0, 0] < dark[1, 1] < dark[1, 0] < dark[0, 1] == 765
    ink = picture[-126 + 20 : -126 + 40, left + 10 : left + 54].astype(int).sum(-1)
    assert ink.max() == 765 and ink.min() == dark[0, 0], "100, in white"


def test_of_many_classes_those_most_confused_are_shown():
    """Classes 7 and 300 are taken for each other; the rest is right but for class 20."""
    matrix = 9 * np.eye(400, dtype=np.int64)
    matrix[7, 300], matrix[300, 7], matrix[20, 21] = 50, 40, 5
    names = [str(number) for number in range(400)]
    shown, shown_names = _most_confused(matrix, names)
    first, second = shown_names.index("7"), shown_names.index("300")
    assert (shown[first, second], shown[second, first], shown[first, first]) == (50, 40, 9)
    assert {"20", "21"} < set(shown_names) and len(shown_names) == 16
    assert shown_names[-1] == "385 others" and shown.sum() == matrix.sum()
    assert draw_confusion(matrix, names).shape[1] < 1400

import numpy as np
import tensorflow as tf

from ccssl_tf.data.pipeline import Epoch
from ccssl_tf.pictures.confusion import confusion_pictures, draw_confusion
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
    assert confusion_pictures(Held(), ["x"] * 61, None) == {}


def test_cells_are_as_dark_as_the_share_of_their_row():
    picture = draw_confusion(np.array([[4, 0], [1, 3]]), ["first", "second"], "conv3")
    assert picture.dtype == np.uint8
    height, width, _ = picture.shape
    side = 660
    cells = picture[height - 2 - side : height - 2, width - 2 - side : width - 2]
    dark = cells.reshape(2, 330, 2, 330, 3)[:, 165, :, 165].astype(int).sum(-1)
    assert dark[0, 0] < dark[1, 1] < dark[1, 0] < dark[0, 1] == 765

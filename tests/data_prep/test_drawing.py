import io

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from data_prep import drawing


def _pictures(split, count):
    pictures = [Image.open(io.BytesIO(drawing.draw_picture(0, split, i, 64))) for i in range(count)]
    return np.stack([np.asarray(picture) for picture in pictures]), np.arange(count) % len(
        drawing.CLASS_NAMES
    )


def test_a_picture_is_a_function_of_seed_split_and_index():
    pictures = {
        key: drawing.draw_picture(*key, 64)
        for key in [(0, "train", 3), (1, "train", 3), (0, "val", 3), (0, "train", 13)]
    }
    assert drawing.draw_picture(0, "train", 3, 64) == pictures[0, "train", 3]
    assert len(set(pictures.values())) == 4


@pytest.mark.parametrize("image_size", [16, 64, 100])
def test_pictures_have_the_size_asked_for(image_size):
    image = Image.open(io.BytesIO(drawing.draw_picture(0, "train", 0, image_size)))
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (image_size, image_size))


def test_classes_are_balanced():
    image_set = drawing.image_set({"train": 100, "val": 30, "test": 0}, 64, 0)
    assert list(image_set.splits) == ["train", "val"]
    for items in image_set.splits.values():
        assert len(set(np.bincount([item.label for item in items]))) == 1
    assert len(image_set.class_names) == 10


def test_light_and_layout_are_consistent():
    pixels, _ = _pictures("train", 200)
    rows = pixels.mean((0, 2, 3))
    assert rows[:20].mean() > rows[-20:].mean() + 30  # Sky over ground.
    columns = pixels[:, 44:].mean((1, 3))
    sides = columns[:, -10:].mean(1) - columns[:, :10].mean(1)
    assert np.mean(np.abs(sides) > 8) > 0.7  # Light comes from a side,
    assert 0.35 < np.mean(sides > 0) < 0.65  # from either.


@pytest.mark.parametrize(
    ("num_train", "num_val"), [(600, 200), pytest.param(3000, 600, marks=pytest.mark.slow)]
)
def test_raw_pixels_do_poorly(num_train, num_val):
    """A linear classifier of pixels, averaged 4x4 or not (what does best depends on the decay),
    stays far from the ten classes.
    """
    train, train_labels = _pictures("train", num_train)
    val, val_labels = _pictures("val", num_val)
    for cell, inverse_decay in (
        ((4, 1e-3), (4, 1e-2)) if num_train < 1000 else ((4, 1e-3), (4, 1e-2), (1, 1e-4))
    ):
        flat = [
            pixels.reshape(-1, 64 // cell, cell, 64 // cell, cell, 3)
            .mean((2, 4))
            .reshape(len(pixels), -1)
            .astype(np.float32)
            for pixels in (train, val)
        ]
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=inverse_decay, max_iter=60)
        ).fit(flat[0], train_labels)
        score = model.score(flat[1], val_labels)
        print(f"{cell=} {inverse_decay=} accuracy {score:.3f}")
        assert score < 0.4

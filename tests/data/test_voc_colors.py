"""Against the colours that the devkit's documentation names."""

import pytest

from ccssl_tf.data.voc_colors import VOID, voc_colors


@pytest.mark.parametrize(
    ("value", "color"),
    [
        (0, (0, 0, 0)),
        (1, (128, 0, 0)),
        (2, (0, 128, 0)),
        (15, (192, 128, 128)),
        (20, (0, 64, 128)),
        (VOID, (224, 224, 192)),
    ],
)
def test_colours_of_classes(value, color):
    assert tuple(voc_colors()[value]) == color
    assert tuple(voc_colors(value + 1)[-1]) == color

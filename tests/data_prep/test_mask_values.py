"""Numbers and colours of masks against a table computed as the devkit's program computes it."""

import io

import numpy as np
import pytest
from PIL import Image

from data_prep.decoding import BadImage
from data_prep.mask_values import MaskColors, read_png_mask


def _png(pixels, palette=None, **options):
    image = Image.fromarray(np.asarray(pixels, np.uint8), "P" if palette is not None else None)
    if palette is not None:
        image.putpalette(list(palette))
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


@pytest.fixture
def pixels():
    return np.random.default_rng(0).choice([0, 1, 2, 20, 255], (8, 9)).astype(np.uint8)


def test_palettes(voc_devkit_class, pixels):
    devkit, colors = np.reshape(voc_devkit_class.palette(), [256, 3]), MaskColors(20)
    for palette, told in (
        (devkit, False),
        (np.repeat(np.arange(256)[:, None], 3, 1), False),
        (devkit[::-1], True),
    ):
        stored = pixels if not told else 255 - pixels
        values, by_colors = read_png_mask(_png(stored, palette.ravel()), colors)
        np.testing.assert_array_equal(values, pixels)
        assert by_colors == told
    values, by_colors = read_png_mask(_png(devkit[pixels]), colors)
    np.testing.assert_array_equal(values, pixels)
    assert by_colors
    values, by_colors = read_png_mask(_png(pixels), colors)
    np.testing.assert_array_equal(values, pixels)
    assert not by_colors


def test_person_in_place_of_aeroplane(voc_devkit_class):
    """Index 1 has the colour of class 15."""
    palette = [0, 0, 0, 192, 128, 128]
    values, by_colors = read_png_mask(_png([[0, 1], [1, 0]], palette), MaskColors(20))
    assert values.tolist() == [[0, 15], [15, 0]] and by_colors


def test_own_colours(pixels):
    table = {(9, 9, 9): 0, (1, 2, 3): 1, (4, 5, 6): 2}
    colors = MaskColors(2, table)
    palette = np.zeros([256, 3], int)
    palette[[7, 8, 5]] = list(table)
    values, _ = read_png_mask(_png([[7, 8, 5]], palette.ravel()), colors)
    assert values.tolist() == [[0, 1, 2]]
    values, _ = read_png_mask(_png([[(1, 2, 3), (224, 224, 192)]]), colors)
    assert values.tolist() == [[1, 255]]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (_png([[0, 1]], [0, 0, 0, 1, 2, 3]), r"gives index 1 the colour \(1, 2, 3\)"),
        (_png([[0, 1]], [0, 0, 0, 255, 255, 255]), "gives index 1 the colour"),
        (_png([[(1, 2, 3)]]), r"has the colour \(1, 2, 3\), which is no class's"),
        (_png([[0, 21]]), r"holds class 21, expected 0..20 or 255"),
        (_png(np.zeros([2, 2, 4])), "a mask of mode RGBA"),
        (b"nothing", "not a whole PNG"),
    ],
)
def test_masks_that_do_not_do(data, said):
    with pytest.raises(BadImage, match=said):
        read_png_mask(data, MaskColors(20))


def test_indices_can_be_trusted():
    data = _png([[0, 1]], [0, 0, 0, 1, 2, 3])
    values, _ = read_png_mask(data, MaskColors(20, trusts_indices=True))
    assert values.tolist() == [[0, 1]]
    with pytest.raises(BadImage, match="holds class 1, expected 0..0"):
        read_png_mask(data, MaskColors(0, trusts_indices=True))
    with pytest.raises(BadImage, match="2x1 pixels, the image has 3x1"):
        read_png_mask(data, MaskColors(20), size=(3, 1))

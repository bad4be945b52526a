"""VOC's colours, palette PNGs that other programs read, and segmentations over photos."""

import io

import numpy as np
from PIL import Image

from ccssl_tf.data.voc_colors import voc_colors
from ccssl_tf.pictures import segmentation as lib


def test_a_palette_png_holds_the_classes_themselves():
    classes = np.random.default_rng(0).integers(0, 21, [13, 17]).astype(np.uint8)
    picture = Image.open(io.BytesIO(lib.encode_class_map(classes)))
    assert picture.mode == "P" and picture.size == (17, 13)
    np.testing.assert_array_equal(np.asarray(picture), classes)
    np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), voc_colors()[classes])


def test_classes_over_a_photo():
    photo = np.full([2, 2, 3], 100, np.uint8)
    drawn = lib.draw_over(photo, np.array([[0, 1], [255, 15]], np.uint8))
    assert tuple(drawn[0, 0]) == (70, 70, 70)
    assert drawn[0, 1, 0] > 100 > drawn[0, 1, 1] and (drawn[1, 0] > 190).all()


def test_rows_of_photos_of_several_sizes():
    rows = []
    for height, width in ((40, 60), (60, 30)):
        classes = np.zeros([height, width], np.uint8)
        classes[10:20, 10:20] = 1
        classes[22:24] = 255
        rows.append((np.full([height, width, 3], 90, np.uint8), classes, np.roll(classes, 5, 1)))
    sheet = lib.draw_rows(rows, ["background", "cat"])
    assert sheet.dtype == np.uint8 and sheet.shape[0] > 2 * 160 and sheet.shape[1] >= 3 * 240
    truth, prediction = sheet[:160, 244:484], sheet[:160, 488:728]
    assert (truth != prediction).any()

import numpy as np

from ccssl_tf.downstream.detections import Detections
from ccssl_tf.pictures.detection import draw_detections


def test_boxes_are_drawn_where_they_are():
    photo = np.zeros([130, 260, 3], np.uint8)
    found = Detections(
        np.zeros(2, np.int32),
        np.int32([0, 1]),
        np.float32([0.9, 0.1]),
        np.float32([[50, 40, 99, 99], [150, 20, 200, 90]]),
    )
    nothing = found.of(np.zeros(2, bool))
    sheet = draw_detections(
        [
            (photo, np.int32([[10, 10, 200, 110]]), [1], found),
            (photo, np.zeros([0, 4]), [], nothing),
        ],
        ["cat", "dog"],
    )
    assert sheet.shape == (272, 538, 3) and sheet.dtype == np.uint8
    first = sheet[6 : 6 + 130, 6 : 6 + 260]
    assert (first[60, 50] == [230, 40, 40]).all() and (first[60, 10] == 255).all()
    assert not (first[21:90, 150] == [40, 110, 230]).all(1).any()  # Too unsure.
    assert (sheet[6:100, 272 : 272 + 260] == 0).all()

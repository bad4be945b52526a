"""Boxes come back as the devkit's integers, whatever the image's size."""

import numpy as np
import tensorflow as tf

from ccssl_tf.data import records, voc_records


def _record(height, width, extra):
    return records.image_example(
        encoded=b"jpeg", filename=b"a.jpg", height=height, width=width, index=3, extra=extra
    )


def _objects(boxes, height, width, **more):
    count = len(boxes)
    options = dict(difficult=[False] * count, truncated=[False] * count) | more
    return voc_records.object_features(
        boxes, [7] * count, [b"cat"] * count, height=height, width=width, **options
    )


def test_every_pixel_coordinate_survives_float32():
    @tf.function
    def read_back(serialized):
        parsed = voc_records.parse_voc_image(serialized)
        return parsed["boxes"], voc_records.pixel_boxes(
            parsed["boxes"], parsed["height"], parsed["width"]
        )

    for height, width in [(1, 1), (375, 500), (333, 499), (4999, 3001), (97, 65535)]:
        xs, ys = np.arange(1, width + 1), np.resize(np.arange(1, height + 1), width)
        boxes = np.stack([xs, ys, np.maximum(xs, xs[::-1]), np.maximum(ys, ys[::-1])], axis=1)
        normalized, found = read_back(_record(height, width, _objects(boxes, height, width)))
        np.testing.assert_array_equal(found, boxes)
        assert (
            normalized.dtype == tf.float32 and np.min(normalized) >= 0 and np.max(normalized) <= 1
        )


def test_the_convention_of_the_normalised_corners():
    extra = _objects(np.array([[1, 1, 500, 375], [251, 2, 251, 75]]), 375, 500)
    np.testing.assert_allclose(extra["image/object/bbox/xmin"], [0, 0.5])
    np.testing.assert_allclose(extra["image/object/bbox/ymin"], [0, 1 / 375])
    np.testing.assert_allclose(extra["image/object/bbox/xmax"], [1, 251 / 500], rtol=1e-6)
    np.testing.assert_allclose(extra["image/object/bbox/ymax"], [1, 0.2], rtol=1e-6)


def test_round_trip_of_everything():
    presence = [1, 0, -1] * 6 + [-1, 1]
    extra = _objects(
        np.array([[1, 2, 3, 4], [2, 2, 2, 2]]),
        9,
        8,
        difficult=[True, False],
        truncated=[False, True],
    )
    parsed = voc_records.parse_voc_image(
        _record(9, 8, extra | voc_records.presence_features(presence))
    )
    found = {name: np.asarray(value).tolist() for name, value in parsed.items() if name != "boxes"}
    assert found == dict(
        encoded=b"jpeg",
        filename=b"a.jpg",
        index=3,
        label=-1,
        height=9,
        width=8,
        labels=[7, 7],
        difficult=[True, False],
        truncated=[False, True],
        presence=presence,
        mask=b"",
    )
    assert parsed["boxes"].shape == (2, 4)


def test_an_image_without_objects_and_one_with_a_mask():
    parsed = voc_records.parse_voc_image(_record(9, 8, _objects(np.zeros([0, 4], int), 9, 8)))
    assert parsed["boxes"].shape == (0, 4) and parsed["labels"].shape == (0,)
    mask = np.arange(72, dtype=np.uint8).reshape(9, 8)
    parsed = voc_records.parse_voc_image(
        _record(9, 8, voc_records.mask_features(tf.io.encode_png(mask[..., None]).numpy()))
    )
    np.testing.assert_array_equal(voc_records.decode_mask(parsed["mask"]), mask)
    assert parsed["boxes"].shape == (0, 4) and parsed["presence"].shape == (0,)

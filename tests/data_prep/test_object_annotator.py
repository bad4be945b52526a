"""Boxes, class states and sizes as they go into records."""

import numpy as np
import pytest

from data_prep import object_annotator
from data_prep.decoding import BadImage, ConvertedImage
from data_prep.object_annotator import (
    BoxEdges,
    Object,
    ObjectAnnotator,
    ObjectLocation,
    packed,
    presence_of,
)
from data_prep.voc_xml import CLASSES


def test_objects_survive_their_packing():
    objects = [Object(3, (1, 2, 300, 70_000), True, False), Object(0, (5, 5, 5, 5), False, True)]
    assert ObjectLocation((), (1, 1), packed(objects)).objects == objects
    assert ObjectLocation((), (1, 1), packed([])).objects == []


def test_states_of_classes():
    objects = [Object(1, (1, 1, 1, 1), True), Object(2, (1, 1, 1, 1), True), Object(2, (1,) * 4)]
    assert presence_of(objects, 4) == (-1, 0, 1, -1)


def test_features_are_normalised_corners():
    annotator = ObjectAnnotator(("ant", "bee"))
    location = ObjectLocation((), (20, 10), packed([Object(1, (1, 2, 20, 9), False, True)]))
    features = annotator.features(location, ConvertedImage(b"", 10, 20, ()))
    for name, value in dict(xmin=0, ymin=0.1, xmax=1, ymax=0.9).items():
        np.testing.assert_allclose(features[f"image/object/bbox/{name}"], [value], rtol=1e-6)
    assert features["image/object/class/text"] == [b"bee"]
    assert features["image/object/truncated"].tolist() == [1]
    assert features["image/class/presence"].tolist() == [-1, 1]


@pytest.mark.parametrize(
    ("box", "clipped", "counts"),
    [
        ((1, 1, 20, 10), (1, 1, 20, 10), (0, 0)),
        ((0, 0, 21, 11), (1, 1, 20, 10), (0, 0)),
        ((-5, 3, 25, 4), (1, 3, 20, 4), (1, 0)),
        ((30, 3, 40, 4), None, (0, 1)),
    ],
)
def test_boxes_at_the_edge(box, clipped, counts):
    edges = BoxEdges(clip=True)
    assert edges.inside(box, (20, 10)) == (clipped, "")
    assert (edges.num_clipped, edges.num_outside) == counts
    assert bool(edges.describe()) == any(counts)
    found, fault = BoxEdges(clip=False).inside(box, (20, 10))
    if any(counts):
        assert found is None and "outside the image of 20x10" in fault
    else:
        assert (found, fault) == (clipped, "")


def test_boxes_must_fit_the_image_as_it_is_stored():
    location = ObjectLocation((), (23, 17), b"")
    annotator = ObjectAnnotator(tuple(CLASSES))
    features = annotator.features(location, ConvertedImage(b"", 17, 23, ("grey",)))
    assert features["image/class/presence"].tolist() == [-1] * 20 and features[
        "image/object/bbox/xmin"
    ].shape == (0,)
    with pytest.raises(BadImage, match="17x23 pixels, its annotation says 23x17"):
        annotator.features(location, ConvertedImage(b"", 23, 17, ()))
    with pytest.raises(BadImage, match="asks for a rotation"):
        annotator.features(location, ConvertedImage(b"", 17, 23, ("rotated",)))


def test_the_image_is_what_is_read(tmp_path):
    (tmp_path / "a").write_bytes(b"0123456789")
    assert (
        object_annotator.read_image(ObjectLocation((str(tmp_path / "a"), 2, 3), (1, 1), b""))
        == b"234"
    )

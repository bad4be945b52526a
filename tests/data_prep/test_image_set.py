"""What a converter found travels to the workers."""

import os
import pickle

from data_prep.image_set import ImageSet, Item


def test_an_image_set_survives_the_way_to_a_process():
    item = Item(b"\xff.jpg", 1, 20, ("a.jpg", 0, None))
    image_set = ImageSet({"train": [item]}, ["a", "b"], "test", os.fspath)
    assert pickle.loads(pickle.dumps(image_set)) == image_set
    assert image_set.info == {} and image_set.annotator is None

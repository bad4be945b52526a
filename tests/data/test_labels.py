"""Class names are there or their absence is said."""

import pytest
from conftest import CLASS_NAMES, write_images

from ccssl_tf.data.labels import class_names
from ccssl_tf.errors import InputError


def test_names_of_labelled_images(image_dir):
    assert class_names(image_dir) == CLASS_NAMES


@pytest.mark.parametrize("info", [{}, dict(class_names=None), dict(class_names=[])])
def test_unlabelled_images_are_refused(tmp_path, info):
    write_images(tmp_path / "data", {"train": [1]}, info=info)
    with pytest.raises(InputError, match="data: its images have no class labels"):
        class_names(tmp_path / "data")

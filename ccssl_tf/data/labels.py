"""Class labels of a data set, checked before anything is trained on them."""

from ccssl_tf.data.manifest import Manifest
from ccssl_tf.errors import InputError


def class_names(data_dir) -> list[str]:
    """Returns the class names of an image directory; raises InputError when its images have no labels."""
    names = Manifest.read(data_dir, "images").info.get("class_names")
    if not names:
        raise InputError(f"{data_dir}: its images have no class labels, which this task needs; convert them from class folders")
    return names

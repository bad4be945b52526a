"""Files of published weights are told apart, and what is none of them is refused."""

import h5py
import numpy as np
import pytest

from ccssl_tf.models import VGG16, AlexNet
from ccssl_tf.models.importers import import_backbone
from ccssl_tf.runs.errors import InputError


def test_other_files_are_refused(tmp_path):
    for name in ("a.npy", "a.caffemodel", "a.pth", "none.npz"):
        if not name.startswith("none"):
            (tmp_path / name).write_bytes(b"x")
        with pytest.raises(
            InputError, match=f"{name}: (no such file|not .npz or .h5; there are importers for)"
        ):
            import_backbone(tmp_path / name, AlexNet)
    path = tmp_path / "a.npz"
    np.savez(path, **{"conv1/1": np.zeros(96, np.float32)})
    with pytest.raises(
        InputError,
        match="published weights have no batch normalisation; leave --normalization=batch_norm out",
    ):
        import_backbone(path, AlexNet, normalization="batch_norm")
    h5py.File(tmp_path / "a.h5", "w").close()
    with pytest.raises(
        InputError,
        match="a.h5: an .h5 file holds weights of keras.applications; .* --backbone=vgg16",
    ):
        import_backbone(tmp_path / "a.h5", AlexNet)
    with pytest.raises(
        InputError, match="a.h5: no kernel of block1_conv1 .*; is it keras.applications' VGG16"
    ):
        import_backbone(tmp_path / "a.h5", VGG16, fc_units=())

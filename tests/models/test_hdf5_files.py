"""HDF5 files whose arrays claim far more than the file has are refused before they are read."""

import io

import h5py
import numpy as np
import pytest

from ccssl_tf.models.hdf5_files import check_hdf5, open_hdf5
from ccssl_tf.runs.errors import CorruptArtifactError, InputError


def _write(path, **options):
    with h5py.File(path, "w") as file:
        file.create_group("layers").create_dataset("kernel", (1 << 25,), np.float32, **options)
        file["bias"] = np.ones(3)
        file["nothing"] = h5py.Empty("f")
    return path


def test_sound_files_are_opened(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["bias"] = np.ones(3)
    with open_hdf5(tmp_path / "a.h5", "get it again") as file:
        assert file["bias"][()].tolist() == [1, 1, 1]


def test_claims_are_compared_with_the_file(tmp_path):
    path = _write(tmp_path / "a.h5", chunks=(1 << 20,), compression="gzip")
    message = "a.h5: unpacks to 128 MiB from 0.0, more than 20 times as much; get it again"
    with pytest.raises(CorruptArtifactError, match=message):
        open_hdf5(path, "get it again")
    with pytest.raises(CorruptArtifactError, match=message):
        check_hdf5(io.BytesIO(path.read_bytes()), path.stat().st_size, path, "get it again")


def test_what_is_none(tmp_path):
    with pytest.raises(InputError, match="a.h5: no such file"):
        open_hdf5(tmp_path / "a.h5", "get it again")
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n cut")
    with pytest.raises(CorruptArtifactError, match="a.h5: damaged, or not an HDF5 file of weights"):
        open_hdf5(tmp_path / "a.h5", "get it again")

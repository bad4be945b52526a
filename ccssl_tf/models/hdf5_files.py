"""HDF5 files of others, looked at before anything in them is read."""

import pathlib
from typing import BinaryIO

import h5py

from ccssl_tf.data.archives import check_expansion
from ccssl_tf.runs.damage import told_as_damage
from ccssl_tf.runs.errors import InputError

# Weights hardly pack; those of a network with most of them cut to zero do, ten times at best.
MOST_EXPANSION = 20


def open_hdf5(path, advice: str) -> h5py.File:
    """Opens a file of weights.

    Args:
      path: of the file.
      advice: what to do with a damaged one, as the message ends.

    Raises:
      InputError: no such file.
      CorruptArtifactError: it is damaged, no HDF5 file, or its arrays claim more than 64 MiB and
        more than 20 times its size.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with told_as_damage(path, "damaged, or not an HDF5 file of weights", advice):
        file = h5py.File(path, "r")
        _check(file, path, path.stat().st_size, advice)
    return file


def check_hdf5(content: BinaryIO, size: int, path, advice: str) -> None:
    """Raises as `open_hdf5` does for the HDF5 file that is a part of the file at `path`."""
    with h5py.File(content, "r") as file:
        _check(file, path, size, advice)


def _check(file, path, size, advice):
    claims = []

    def visit(unused_name, item):
        if isinstance(item, h5py.Dataset):
            claims.append((item.size or 0) * item.dtype.itemsize)

    file.visititems(visit)
    check_expansion(path, sum(claims), size, MOST_EXPANSION, advice)

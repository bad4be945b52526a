"""Zeros in a tar, left by a lost sector or by a download into a preallocated file that stopped: a
block of them is what ends a tar, and an archive with fewer images must not pass for the whole.
"""

import io
import tarfile

import numpy as np
import pytest
import scipy.io

from ccssl_tf.runs.errors import InputError
from data_prep import imagenet_layout, locations

WNIDS = ["n00000000", "n00000001", "n00000002"]
PER_CLASS = 4
NUM_IMAGES = len(WNIDS) * PER_CLASS


def _tar_bytes(members):
    """A tar as GNU tar and Python write it, to whole records of 10,240 bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _train_tar(sizes):
    """The published training tar in small, class tars in a tar; bytes of a class's images."""
    rng = np.random.default_rng(0)
    inner = [
        [
            (f"{wnid}_{i}.JPEG", rng.integers(1, 256, size, np.uint8).tobytes())
            for i, size in enumerate(sizes)
        ]
        for wnid in WNIDS
    ]
    return _tar_bytes(
        (f"{wnid}.tar", _tar_bytes(images)) for wnid, images in zip(WNIDS, inner, strict=True)
    )


def _write_devkit(directory):
    """Its meta.mat says how many training images a class has."""
    columns = [(name, "O") for name in ("ILSVRC2012_ID", "WNID", "num_train_images")]
    rows = [(number, wnid, PER_CLASS) for number, wnid in enumerate(WNIDS, 1)]
    meta = {"synsets": np.array(rows, columns).reshape(-1, 1)}
    scipy.io.savemat(directory / "meta.mat", meta)
    (directory / "ILSVRC2012_validation_ground_truth.txt").write_text("1\n2\n3\n")


def _count(directory, data):
    """Images that are found in a training tar of these bytes; None where it is refused."""
    path = directory / imagenet_layout.TRAIN_TAR
    path.write_bytes(data)
    try:
        return len(imagenet_layout.list_images(directory).splits["train"])
    except InputError as error:
        assert str(path) in str(error)
        return None


def _with_hole(data, start, size):
    return data[:start] + bytes(len(data[start : start + size])) + data[start + size :]


@pytest.mark.parametrize("blocks", [1, 8, 20, 40])
def test_no_hole_of_zeros_loses_an_image_in_silence(tmp_path, blocks):
    """Images of ImageNet's kind, larger than a record: without any list."""
    whole = _train_tar([10_300, 12_000, 13_000, 21_000])
    assert _count(tmp_path, whole) == NUM_IMAGES
    holes = range(0, len(whole), 512 if blocks == 1 else 1536)
    counts = {_count(tmp_path, _with_hole(whole, start, 512 * blocks)) for start in holes}
    assert counts == {None, NUM_IMAGES}


def test_a_download_that_stopped_leaves_no_smaller_set(tmp_path):
    """A file of its full size whose end is zeros, from any byte on; and one that ends there."""
    whole = _train_tar([10_300, 12_000, 13_000, 21_000])
    end = len(whole.rstrip(b"\0"))
    for stop in [*range(1, end, 1499), *range(end - 600, end, 37)]:
        stopped = whole[:stop].ljust(len(whole), b"\0")
        assert _count(tmp_path, stopped) in (None, NUM_IMAGES)
        assert _count(tmp_path, whole[:stop]) is None


@pytest.mark.parametrize("blocks", [1, 2, 3, 20])
def test_the_development_kit_tells_what_small_images_leave_open(tmp_path, blocks):
    """Several of them fit where the last record of a tar is filled up with zeros."""
    whole = _train_tar([300, 900, 2500, 7000])
    _write_devkit(tmp_path)
    assert _count(tmp_path, whole) == NUM_IMAGES
    holes = range(0, len(whole), 512)
    counts = {_count(tmp_path, _with_hole(whole, start, 512 * blocks)) for start in holes}
    assert counts == {None, NUM_IMAGES}


@pytest.mark.parametrize("listed", ["ground truth", "val.txt"])
def test_fewer_validation_images_than_their_list_are_refused(tmp_path, listed):
    (tmp_path / imagenet_layout.TRAIN_TAR).write_bytes(_train_tar([300] * PER_CLASS))
    names = [f"ILSVRC2012_val_{number:08}.JPEG" for number in (1, 2, 3)]
    if listed == "val.txt":
        lines = (f"{name} {label}\n" for label, name in enumerate(names))
        (tmp_path / "val.txt").write_text("".join(lines))
    else:
        _write_devkit(tmp_path)
    path = tmp_path / imagenet_layout.VAL_TAR
    path.write_bytes(_tar_bytes((name, b"x") for name in names))
    assert len(imagenet_layout.list_images(tmp_path).splits["val"]) == 3
    path.write_bytes(_tar_bytes((name, b"x") for name in names[:2]))
    with pytest.raises(InputError, match="2 validation images, but .* is of 3"):
        imagenet_layout.list_images(tmp_path)


@pytest.mark.parametrize("padding", [1024, 10240])
def test_tars_of_other_programs_end_as_they_write_them(tmp_path, padding):
    """Two blocks of zeros (Go, Rust, bsdtar into a file), or those that fill a record."""
    data = _tar_bytes([("a.jpg", b"x" * 700)])
    members = data.rstrip(b"\0")
    members += bytes(-len(members) % 512)
    size = len(members) + 1024
    path = tmp_path / "a.tar"
    path.write_bytes(members + bytes(1024 + (-size % padding if padding > 1024 else 0)))
    assert [member.name for member in locations.tar_members(path)] == [b"a.jpg"]

"""Boxes from files as Fast R-CNN's users have them, and as they may go wrong."""

import json

import numpy as np
import pytest
import scipy.io

from ccssl_tf.runs.errors import CcsslError, CorruptArtifactError, InputError
from data_prep.precomputed_boxes import PrecomputedBoxes, read_boxes

BOXES = {"000001": np.array([[1, 2, 30, 40], [5, 5, 5, 5]]), "000002": np.array([[60, 50, 60, 50]])}
PARSED = dict(filename=b"000001.jpg", width=np.int64(60), height=np.int64(50))


def _cells(values):
    cells = np.empty([len(values), 1], object)
    for row, value in enumerate(values):
        cells[row, 0] = value
    return cells


def _write(path, boxes=BOXES):
    if path.suffix == ".mat":
        y1_first = [found[:, [1, 0, 3, 2]].astype(float) for found in boxes.values()]
        scipy.io.savemat(
            path, {"images": _cells(list(boxes)), "boxes": _cells(y1_first).T}, do_compression=True
        )
    elif path.suffix == ".npz":
        np.savez(path, **boxes)
    else:
        path.write_text(json.dumps({name: found.tolist() for name, found in boxes.items()}))
    return path


@pytest.mark.parametrize("suffix", [".mat", ".npz", ".json"])
def test_every_format_gives_the_same_boxes(tmp_path, suffix):
    source = PrecomputedBoxes((_write(tmp_path / f"boxes{suffix}"),))
    found = source.boxes(PARSED)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, BOXES["000001"])
    np.testing.assert_array_equal(
        source.boxes(PARSED | {"filename": b"000002.jpg"}), BOXES["000002"]
    )
    with pytest.raises(InputError, match="no boxes of 000003.jpg; it has 2 other images"):
        source.boxes(PARSED | {"filename": b"000003.jpg"})


def test_the_whole_file_name_may_be_the_key_and_no_boxes_are_boxes(tmp_path):
    source = PrecomputedBoxes((_write(tmp_path / "a.json", {"000001.jpg": np.zeros([0, 4])}),))
    assert source.boxes(PARSED).shape == (0, 4)


@pytest.mark.parametrize(
    "box",
    [[3, 1, 2, 5], [1, 1, 62, 5], [-1, 1, 5, 5], [1, 1, float("nan"), 5], [1, 1, float("inf"), 5]],
)
def test_bad_boxes_are_named(tmp_path, box):
    source = PrecomputedBoxes(
        (_write(tmp_path / "a.npz", {"000001": np.array([[1, 1, 2, 2], box], float)}),)
    )
    with pytest.raises(InputError, match=r"a.npz: 000001: box \["):
        source.boxes(PARSED)


def test_one_pixel_outside_is_moved_to_the_edge(tmp_path):
    source = PrecomputedBoxes((_write(tmp_path / "a.npz", {"000001": np.array([[0, 0, 61, 51]])}),))
    assert source.boxes(PARSED).tolist() == [[1, 1, 60, 50]]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"1 2 3 4", "are read from .mat, .npz, .json"),
        ("a.mat", b"MATLAB?", "not a whole .mat file"),
        ("a.npz", b"PK\x03\x04", "damaged, or no .npz"),
        ("a.json", b"{", "not a whole .json file"),
        ("a.json", b"[]", "expected an object"),
        ("a.json", b"{}", "holds no boxes"),
    ],
)
def test_other_files_are_refused(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CcsslError, match=f"{name}.*{said}"):
        read_boxes(tmp_path / name)


def test_a_mat_of_something_else_and_pickles_are_refused(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"x": 1})
    with pytest.raises(InputError, match="cell arrays images and boxes"):
        read_boxes(tmp_path / "a.mat")
    np.savez(tmp_path / "b.npz", **{"000001": np.array([{}], object)})
    with pytest.raises(CorruptArtifactError, match="b.npz: 000001: .*Python objects"):
        PrecomputedBoxes((tmp_path / "b.npz",)).boxes(PARSED)
    (tmp_path / "c.json").write_text('{"000001": [[1, 2, 3]]}')
    with pytest.raises(InputError, match="not .* numbers"):
        PrecomputedBoxes((tmp_path / "c.json",)).boxes(PARSED)


def test_several_files_are_one_source(tmp_path):
    first = _write(tmp_path / "a.mat", {"000001": BOXES["000001"]})
    second = _write(tmp_path / "b.mat", {"000002": BOXES["000002"]})
    source = PrecomputedBoxes((first, second))
    for name, boxes in BOXES.items():
        found = source.boxes(PARSED | {"filename": f"{name}.jpg".encode()})
        np.testing.assert_array_equal(found, boxes)
    with pytest.raises(
        InputError, match="no boxes of 000003.jpg; it has 2 other images .*for each"
    ):
        source.boxes(PARSED | {"filename": b"000003.jpg"})
    same = PrecomputedBoxes((first, _write(tmp_path / "c.npz", BOXES)))
    np.testing.assert_array_equal(same.boxes(PARSED), BOXES["000001"])
    other = _write(tmp_path / "d.npz", {"000001": BOXES["000002"]})
    with pytest.raises(InputError, match="different boxes of 000001.jpg"):
        PrecomputedBoxes((first, other)).boxes(PARSED)

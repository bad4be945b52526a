"""MATLAB's files come back as plain arrays; those that end their reader, or ask it for too much,
are told as damaged, and the next one is read.
"""

import io
import multiprocessing
import os
import signal

import numpy as np
import pytest
import scipy.io

from data_prep.mat_files import OtherMat, UnreadableMat, read_mat

MASK = np.arange(12, dtype=np.uint8).reshape(3, 4)
BOXES = np.array([[2, 1, 40, 30], [5, 5, 5, 5]], float)


def mat(**content):
    file = io.BytesIO()
    scipy.io.savemat(file, content)
    return file.getvalue()


def mask_file():
    return mat(GTcls=dict(Segmentation=MASK))


def boxes_file():
    images, boxes = np.empty([2, 1], object), np.empty([1, 2], object)
    images[:, 0], boxes[0, 0], boxes[0, 1] = ["a", "zwölf"], BOXES, np.zeros([0, 4])
    return mat(images=images, boxes=boxes)


def is_sound():
    np.testing.assert_array_equal(*read_mat("segmentation", mask_file()), MASK)


def test_what_is_read():
    is_sound()
    names, counts, boxes = read_mat("boxes", boxes_file())
    assert names.tolist() == ["a", "zwölf"] and counts.tolist() == [2, 0]
    np.testing.assert_array_equal(boxes, BOXES)
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O")]
    rows = np.array([(2, "n00000001"), (1, "n00000002")], kind).reshape(-1, 1)
    numbers, wnids, counts = read_mat("synsets", mat(synsets=rows))
    assert numbers.tolist() == [2, 1] and wnids.tolist() == ["n00000001", "n00000002"]
    assert counts.tolist() == [-1, -1]
    rows = np.array([(2, "n00000001", 1300)], [*kind, ("num_train_images", "O")]).reshape(-1, 1)
    assert read_mat("synsets", mat(synsets=rows))[2].tolist() == [1300]


def test_files_of_something_else():
    with pytest.raises(OtherMat, match="expected the cell arrays images and boxes, found x"):
        read_mat("boxes", mat(x=1))
    with pytest.raises(OtherMat, match="2 images and 1 cells of boxes"):
        read_mat("boxes", mat(images=[1, 2], boxes=[1]))
    for damaged in (b"", b"MATLAB?" * 99, mask_file()[:-20], mat(GTcls=dict(Segmentation=1.5))):
        with pytest.raises(UnreadableMat, match="."):
            read_mat("segmentation", damaged)


def test_a_file_that_ends_its_reader_is_told_and_the_next_is_read():
    # A number's type, 9 for double, that there is none of: SciPy looks it up without a check.
    sound = boxes_file()
    tag = b"\x09\0\0\0" + BOXES.nbytes.to_bytes(4, "little")
    assert sound.count(tag) == 1
    with pytest.raises(UnreadableMat, match="."):
        read_mat("boxes", sound.replace(tag, b"\x08" + tag[1:]))
    is_sound()


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="only Linux keeps to the limit")
def test_a_file_that_asks_for_all_memory_is_told():
    sound = boxes_file()
    shape = (2).to_bytes(4, "little") + (1).to_bytes(4, "little")
    at = sound.index(shape, 128)
    huge = (1 << 30).to_bytes(4, "little") + (1).to_bytes(4, "little")
    with pytest.raises(UnreadableMat, match="asks for more than 1024 MiB"):
        read_mat("boxes", sound[:at] + huge + sound[at + 8 :])
    is_sound()


def test_a_reader_that_was_killed_is_started_again():
    is_sound()
    (child,) = (c for c in multiprocessing.active_children() if c.daemon)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    is_sound()
